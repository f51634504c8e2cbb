import {
  BalanceBadge, type Chat, InsufficientCredits, isOutOfCredits, SignInButton, useRelay, useRelayChat,
} from "@relay-sdk/react";
import { Composer } from "./Composer.js";
import { Conversation } from "./Conversation.js";
import { Problem } from "./Problem.js";
import { useOnline } from "./online.js";

export function App({ model }: { model: string }) {
  const { status, error } = useRelay();
  const chat = useRelayChat({ model, maxTokens: 500 });
  const isOnline = useOnline();
  const isSignedIn = status === "signed-in";
  const isToldElsewhere = chat.status === "streaming" || isOutOfCredits(chat.error);
  const problem = isToldElsewhere ? null : (chat.error ?? error);

  return (
    <>
      <header>
        <h1>Relay chat</h1>
        <BalanceBadge className="balance" />
        {isSignedIn && <SignInButton className="quiet" />}
      </header>
      <main>
        <Conversation messages={chat.messages} isStreaming={chat.status === "streaming"} />
        {!isOnline && <p className="note" role="status">You are offline. What you wrote stays here.</p>}
        {problem && <Problem error={problem} />}
        {isSignedIn && isUnanswered(chat) && (
          <button type="button" className="quiet" onClick={() => void chat.retry()}>Try again</button>
        )}
        {isSignedIn ? <Composer chat={chat} /> : <SignInButton className="welcome" />}
      </main>
      <InsufficientCredits error={chat.error} onClose={chat.dismiss} />
    </>
  );
}

/** A question without an answer, or with half of one. */
function isUnanswered({ status, messages }: Chat): boolean {
  return status === "error" || (status === "ready" && messages.at(-1)?.role === "user");
}
