"use client";
/** A conversation. The server holds the token, so all there is to call is this site. */
import { errorOf, eventsOf, InsufficientCredits, Unauthenticated } from "@relay-sdk/core";
import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";

const CHARGED_MS = 3000; // what an answer cost is in the wallet some seconds later

interface Message {
  role: "user" | "assistant";
  content: string;
}

export function Chat({ topUpUrl }: { topUpUrl: string }) {
  const router = useRouter();
  const [messages, setMessages] = useState<Message[]>([]);
  const [problem, setProblem] = useState<Error | null>(null);
  const [isBusy, setBusy] = useState(false);

  async function ask(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const asked: Message[] = [...messages, { role: "user", content: String(new FormData(form).get("question")) }];
    form.reset();
    setMessages(asked);
    setProblem(null);
    setBusy(true);
    try {
      let content = "";
      for await (const text of answerTo(asked)) {
        content += text;
        setMessages([...asked, { role: "assistant", content }]);
      }
    } catch (error) {
      if (error instanceof Unauthenticated) return router.replace(`/?relay_error=${error.code}`);
      setProblem(error instanceof Error ? error : new Error(String(error)));
    }
    setBusy(false);
    setTimeout(() => router.refresh(), CHARGED_MS); // the page reads the balance anew
  }

  return (
    <>
      <ol aria-live="polite">
        {messages.map(({ role, content }, number) => (
          <li key={number} className={role}>
            {content}
          </li>
        ))}
      </ol>
      {problem && <Problem error={problem} topUpUrl={topUpUrl} />}
      <form onSubmit={ask}>
        <input name="question" aria-label="Question" autoComplete="off" required />
        <button disabled={isBusy}>{isBusy ? "Answering" : "Ask"}</button>
      </form>
    </>
  );
}

function Problem({ error, topUpUrl }: { error: Error; topUpUrl: string }) {
  if (error instanceof InsufficientCredits) {
    return (
      <p role="alert">
        There are not enough credits for this. <a href={error.topUpUrl ?? topUpUrl}>Top up</a>, then ask again.
      </p>
    );
  }
  return <p role="alert">{error.message}</p>;
}

/** Pieces of the answer's text. Throws ApiError, Unreachable, and Error for one that broke off. */
async function* answerTo(messages: Message[]): AsyncGenerator<string> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch("/api/chat", { method: "POST", headers, body: JSON.stringify({ messages }) });
  if (!answer.ok) throw errorOf(answer.status, answer.headers, await answer.text());
  for await (const { data } of eventsOf(answer)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data) as { choices?: { delta?: { content?: string } }[]; error?: unknown };
    if (chunk.error) throw errorOf(502, answer.headers, data);
    yield chunk.choices?.[0]?.delta?.content ?? "";
  }
  throw new Error("The answer broke off. Ask again.");
}
