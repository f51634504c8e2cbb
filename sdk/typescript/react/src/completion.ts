/** One streamed answer of `/v1/chat/completions`, without a vendor's SDK. */
import { eventsOf, errorOf, type Relay, Unreachable } from "@relay-sdk/core";
import type { ChatMessage } from "./chat.js";

interface Chunk {
  choices?: { delta?: { content?: string | null } }[];
  error?: unknown;
}

/** Pieces of the answer's text. Throws errors of the relay, and what `signal` says. */
export async function* textsOf(
  relay: Relay,
  asked: { model: string; messages: ChatMessage[]; maxTokens: number | undefined },
  signal: AbortSignal,
): AsyncGenerator<string> {
  const { model, messages, maxTokens } = asked;
  const answer = await posted(relay, { model, messages, stream: true, max_tokens: maxTokens }, signal);
  if (!answer.ok) throw errorOf(answer.status, answer.headers, await answer.text());
  let isWhole = false;
  for await (const { data } of eventsOf(answer)) {
    if (data === "[DONE]") {
      isWhole = true;
      continue;
    }
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error) throw errorOf(502, answer.headers, data);
    const text = chunk.choices?.[0]?.delta?.content;
    if (text) yield text;
  }
  if (!isWhole) throw new Unreachable("The answer broke off.", true);
}

async function posted(relay: Relay, document: object, signal: AbortSignal): Promise<Response> {
  const headers = { "content-type": "application/json" };
  try {
    return await relay.fetch(`${relay.url}/v1/chat/completions`, {
      method: "POST", headers, body: JSON.stringify(document), signal,
    });
  } catch (error) {
    throw error instanceof TypeError ? new Unreachable("The relay cannot be reached.", true, error) : error;
  }
}
