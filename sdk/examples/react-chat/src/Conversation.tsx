import type { ChatMessage } from "@relay-sdk/react";
import { useEffect, useRef } from "react";

interface ConversationProps {
  messages: ChatMessage[];
  isStreaming: boolean;
}

/** A log that keys scroll: who listens to it hears each answer once it is whole. */
export function Conversation({ messages, isStreaming }: ConversationProps) {
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    void end.current?.scrollIntoView({ block: "nearest" }); // newer browsers return a promise, which is no clean-up
  }, [messages]);
  return (
    <div className="conversation" role="log" aria-label="Conversation" aria-busy={isStreaming} tabIndex={0}>
      {messages.length === 0 && <p className="empty">Ask a model. Answers are paid from your own wallet, up to what you allow.</p>}
      {messages.map(({ role, content }, at) => (
        <p key={at} className={role}>
          <span className="sr-only">{role === "user" ? "You:" : "Answer:"} </span>
          {content}
        </p>
      ))}
      <div ref={end} />
    </div>
  );
}
