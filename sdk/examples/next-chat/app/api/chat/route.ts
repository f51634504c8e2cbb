/** One answer of the model, as it streams, paid by whoever is signed in. The page says what is asked, and nothing else. */
import { errorOf, RelayError, SignInFailed } from "@relay-sdk/core";
import { getRelay } from "@relay-sdk/next";
import { app } from "../../../relay";

const MODEL = "demo-gpt";
const MOST_TOKENS = 100; // bounds what a call may cost
const MOST_MESSAGES = 40;

export async function POST(request: Request): Promise<Response> {
  if (request.headers.get("origin") !== app.baseUrl) return refused(403, "forbidden", "Ask from the page itself.");
  const messages = messagesOf(await request.json().catch(() => null));
  if (!messages) return refused(400, "bad_request", "Send messages with a role and a content.");
  const relay = getRelay(app);
  const asked = { model: MODEL, max_tokens: MOST_TOKENS, stream: true, messages };
  try {
    const answer = await relay.fetch(`${relay.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(asked),
      signal: request.signal, // who leaves the page ends the call
    });
    if (answer.ok) return new Response(answer.body, { headers: { "content-type": "text/event-stream", "cache-control": "no-store" } });
    const { status, code, message, details } = errorOf(answer.status, answer.headers, await answer.text());
    return refused(status, code, message, details);
  } catch (error) {
    if (error instanceof SignInFailed) return refused(401, error.code, error.action);
    if (error instanceof RelayError || error instanceof TypeError) {
      return refused(503, "unreachable", "The relay cannot be reached. Try again later.");
    }
    throw error;
  }
}

interface Message {
  role: "user" | "assistant";
  content: string;
}

/** The last of a conversation; null for what is none. */
function messagesOf(body: unknown): Message[] | null {
  const found = (body as { messages?: unknown } | null)?.messages;
  if (!Array.isArray(found) || !found.length) return null;
  const messages = found.slice(-MOST_MESSAGES).map((one) => ({ role: one?.role, content: one?.content }));
  const isMessage = (one: { role: unknown; content: unknown }) =>
    (one.role === "user" || one.role === "assistant") && typeof one.content === "string";
  return messages.every(isMessage) ? messages : null;
}

/** As the relay's endpoints say it, so that `errorOf` reads it on the page. */
function refused(status: number, code: string, message: string, details: object = {}): Response {
  return Response.json({ error: code, message, details }, { status });
}
