/** A conversation with a model, as it streams. */
import { InsufficientCredits, relayErrorOf, type Relay } from "@relay-sdk/core";
import { useCallback, useEffect, useRef, useState } from "react";
import { asError, useRelay } from "./context.js";
import { textsOf } from "./completion.js";

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface Chat {
  messages: ChatMessage[];
  status: "ready" | "streaming" | "error";
  /** An error of the relay where it is one, with its `action`. */
  error: Error | null;
  /** Adds a message of the user, and streams the answer. Does nothing while one streams. */
  send: (content: string) => Promise<void>;
  /** Asks again for the last message of the user. */
  retry: () => Promise<void>;
  /** Ends the answer; what came of it stays. */
  stop: () => void;
  /** Forgets the error. The question stays, and `retry` asks it again. */
  dismiss: () => void;
}

export interface ChatOptions {
  model: string;
  /** What the conversation begins with; read once. */
  initialMessages?: ChatMessage[];
  /** Of the answer: bounds what a call may cost. */
  maxTokens?: number;
}

/** The balance is read anew after each answer. The call ends when its component goes. */
export function useRelayChat({ model, initialMessages = [], maxTokens }: ChatOptions): Chat {
  const { relay, refreshUser } = useRelay();
  const [messages, setMessages] = useState(initialMessages);
  const [status, setStatus] = useState<Chat["status"]>("ready");
  const [error, setError] = useState<Error | null>(null);
  const known = useRef(initialMessages);
  const running = useRef<AbortController | null>(null);

  const show = useCallback((next: ChatMessage[]) => {
    known.current = next;
    setMessages(next);
  }, []);

  const ask = useCallback(
    async (asked: ChatMessage[]) => {
      const controller = new AbortController();
      running.current = controller;
      show(asked);
      setStatus("streaming");
      setError(null);
      try {
        await stream(relay, { model, maxTokens, messages: asked }, controller.signal, show);
        setStatus("ready");
      } catch (thrown) {
        if (controller.signal.aborted) setStatus("ready");
        else {
          setError(asError(relayErrorOf(thrown)));
          setStatus("error");
        }
      } finally {
        running.current = null;
      }
      if (!controller.signal.aborted) await refreshUser();
    },
    [relay, model, maxTokens, show, refreshUser],
  );

  const send = useCallback(
    async (content: string) => {
      if (!running.current) await ask([...known.current, { role: "user", content }]);
    },
    [ask],
  );
  const retry = useCallback(async () => {
    const last = known.current.findLastIndex((one) => one.role === "user");
    if (!running.current && last >= 0) await ask(known.current.slice(0, last + 1));
  }, [ask]);
  const stop = useCallback(() => running.current?.abort(), []);
  const dismiss = useCallback(() => {
    setError(null);
    setStatus((now) => (now === "error" ? "ready" : now));
  }, []);
  useEffect(() => () => running.current?.abort(), []);
  return { messages, status, error, send, retry, stop, dismiss };
}

interface Asked {
  model: string;
  maxTokens: number | undefined;
  messages: ChatMessage[];
}

async function stream(relay: Relay, asked: Asked, signal: AbortSignal, show: (next: ChatMessage[]) => void): Promise<void> {
  let content = "";
  for await (const text of textsOf(relay, asked, signal)) {
    content += text;
    show([...asked.messages, { role: "assistant", content }]);
  }
}

/** For `<InsufficientCredits error={chat.error}>` and the like. */
export function isOutOfCredits(error: unknown): error is InsufficientCredits {
  return error instanceof InsufficientCredits;
}
