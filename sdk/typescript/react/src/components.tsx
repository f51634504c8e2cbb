/** Unstyled: take `className`, `style` and what else their elements do. */
import { InsufficientCredits as OutOfCredits } from "@relay-sdk/core";
import { type ComponentProps, type ReactNode, useEffect, useId, useRef } from "react";
import { useRelay } from "./context.js";

const MICRO = 1_000_000;

/** Signs in, or out. Nothing until it is known which. */
export function SignInButton({ children, ...props }: ComponentProps<"button">): ReactNode {
  const { status, signIn, signOut } = useRelay();
  const isSignedIn = status === "signed-in";
  return (
    <button type="button" disabled={status === "loading"} {...props} onClick={() => void (isSignedIn ? signOut() : signIn())}>
      {children ?? (isSignedIn ? "Sign out" : "Sign in")}
    </button>
  );
}

/** What is left in the user's wallet, and the way to more. */
export function BalanceBadge({ topUp = "Top up", ...props }: ComponentProps<"span"> & { topUp?: ReactNode }): ReactNode {
  const { relay, user } = useRelay();
  if (!user) return null;
  return (
    <span {...props}>
      <span role="status">{creditsOf(user.availableMicrocredits)} credits</span>{" "}
      <a href={relay.topUpUrl()} target="_blank" rel="noopener">
        {topUp}
      </a>
    </span>
  );
}

export interface InsufficientCreditsProps extends Omit<ComponentProps<"dialog">, "open" | "onClose"> {
  /** Shown while this is a 402 `insufficient_credits`. */
  error: unknown;
  /** The user closed it: `dismiss` of the chat, say. Who asks again here shows it again until there are credits. */
  onClose: () => void;
}

/** A modal dialog: the browser keeps focus in it, and Escape closes it. */
export function InsufficientCredits({ error, onClose, children, ...props }: InsufficientCreditsProps): ReactNode {
  const { relay, refreshUser } = useRelay();
  const dialog = useRef<HTMLDialogElement>(null);
  const title = useId();
  const shown = error instanceof OutOfCredits ? error : null;
  useEffect(() => {
    if (shown && !dialog.current?.open) dialog.current?.showModal();
  }, [shown]);
  if (!shown) return null;
  const closed = () => {
    void refreshUser();
    onClose();
  };
  return (
    <dialog {...props} ref={dialog} aria-labelledby={title} onClose={closed}>
      <h2 id={title}>Not enough credits</h2>
      <p>{children ?? shown.message}</p>
      {shown.availableMicrocredits !== null && <p>{creditsOf(shown.availableMicrocredits)} credits are left.</p>}
      <a href={shown.topUpUrl ?? relay.topUpUrl()} target="_blank" rel="noopener">
        Top up
      </a>{" "}
      <button type="button" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  );
}

/** To be read, not reckoned with: three decimals at the most, and never more than there is. */
function creditsOf(microcredits: number): string {
  return (microcredits / MICRO).toLocaleString(undefined, { maximumFractionDigits: 3, roundingMode: "floor" });
}
