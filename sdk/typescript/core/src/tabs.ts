/**
 * Tabs of one application and origin share one sign-in. Refresh tokens are used once, and one that is used twice ends the
 * whole sign-in: so one tab renews at a time, and asks the others for a newer pair before it uses its own.
 *
 * Web Locks say who may; a BroadcastChannel carries the pair. Both reach pages of the same origin alone.
 */
import type { Tokens } from "./oauth.js";

/** A pair, and which it is: the larger `number` is the newer one. */
export interface Pair extends Tokens {
  number: number;
}

export type Message =
  | { kind: "asked" }
  | { kind: "pair"; pair: Pair; isNew: boolean }
  | { kind: "signed_out"; reason: string };

/** What is used of a BroadcastChannel. */
export interface Channel {
  postMessage(message: Message): void;
  onmessage: ((event: MessageEvent) => void) | null;
  close(): void;
}

export type Locks = Pick<LockManager, "request">;

const ANSWER_MS = 150; // a page that is awake answers within a few; renewals come every ten minutes

/** The other tabs. Where the platform has neither locks nor channels there are none, and a page is its own lock. */
export class Tabs {
  readonly #name: string;
  readonly #locks: Locks | undefined;
  readonly #channel: Channel | undefined;
  #answered: () => void = () => undefined;

  constructor(name: string, hear: (message: Message) => void, locks?: Locks, channel?: Channel) {
    this.#name = name;
    this.#locks = locks ?? globalThis.navigator?.locks;
    this.#channel = channel ?? (typeof document === "undefined" ? undefined : new BroadcastChannel(name));
    if (this.#channel) {
      this.#channel.onmessage = (event: MessageEvent<Message>) => {
        hear(event.data);
        if (event.data.kind !== "asked") this.#answered();
      };
    }
  }

  /** Runs alone among all tabs. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#locks ? await this.#locks.request(this.#name, work) : await work();
  }

  tell(message: Message): void {
    this.#channel?.postMessage(message);
  }

  /** Until a tab has said something that is enough, or a moment is over. */
  async ask(isEnough: () => boolean): Promise<void> {
    if (!this.#channel) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ANSWER_MS);
      this.#answered = () => {
        if (!isEnough()) return;
        clearTimeout(timer);
        resolve();
      };
      this.tell({ kind: "asked" });
    });
  }

  close(): void {
    this.#channel?.close();
  }
}
