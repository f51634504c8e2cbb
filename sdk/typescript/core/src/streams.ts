/** An answer that comes piece by piece. */
import { errorOf, Unreachable } from "./errors.js";

const BROKEN = 502; // of the error that an event stream ends with, whose status is out already
const MOST_CHARACTERS = 16 * 1024 * 1024;

/** As the HTML Standard, section 9.2, has it. */
export interface ServerSentEvent {
  event: string;
  data: string;
  id: string;
}

/** Read it by `events()` or by `bytes()`, once. Leaving the loop early ends the call. */
export class RelayStream {
  readonly #answer: Response;

  constructor(answer: Response) {
    this.#answer = answer;
  }

  /** The target's. */
  get status(): number {
    return this.#answer.status;
  }

  /** The target's, and the relay's `x-request-id` and `x-relay-target`. */
  get headers(): Headers {
    return this.#answer.headers;
  }

  /** Finds the call in the request log. */
  get requestId(): string {
    return this.headers.get("x-request-id") ?? "";
  }

  /** Of an event stream. Throws ApiError for one that the relay ended early, Unreachable for one that broke. */
  async *events(): AsyncGenerator<ServerSentEvent> {
    for await (const event of eventsOf(this.#answer)) {
      if (event.event === "error") throw errorOf(BROKEN, this.headers, event.data);
      yield event;
    }
  }

  /** As they come. Throws Unreachable for an answer that is not whole. */
  bytes(): AsyncGenerator<Uint8Array> {
    return bytesOf(this.#answer);
  }

  [Symbol.asyncIterator](): AsyncGenerator<ServerSentEvent> {
    return this.events();
  }

  /** Ends a call that nobody has begun to read. */
  async close(): Promise<void> {
    if (!this.#answer.body?.locked) await this.#answer.body?.cancel();
  }
}

/** Events of an answer that is an event stream. Throws Unreachable for one that broke, or is larger than anybody means. */
export async function* eventsOf(answer: Response): AsyncGenerator<ServerSentEvent> {
  let event = "", id = "", data: string[] = [], size = 0;
  for await (const line of linesOf(bytesOf(answer))) {
    if (line === "") {
      if (data.length) yield { event: event || "message", data: data.join("\n"), id };
      event = "";
      data = [];
      size = 0;
      continue;
    }
    size += line.length;
    checkSize(size);
    const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (name === "data") data.push(value);
    else if (name === "event") event = value;
    else if (name === "id" && !value.includes("\0")) id = value;
  }
}

async function* bytesOf(answer: Response): AsyncGenerator<Uint8Array> {
  const reader = answer.body?.getReader();
  if (!reader) return;
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => {
        throw isAbort(cause) ? cause : new Unreachable("The answer broke off.", true, cause);
      });
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => undefined); // of one that has ended or broken there is nothing to cancel
  }
}

/** Lines end with CR LF, LF or CR. What follows the last end is no line. */
async function* linesOf(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const piece of pieces) {
    const text = rest + decoder.decode(piece, { stream: true });
    const isHalf = text.endsWith("\r"); // its LF may come with the next piece
    const lines = (isHalf ? text.slice(0, -1) : text).split(/\r\n|\n|\r/);
    rest = (lines.pop() ?? "") + (isHalf ? "\r" : "");
    checkSize(rest.length);
    yield* lines;
  }
  if (rest.endsWith("\r")) yield rest.slice(0, -1);
}

function checkSize(characters: number): void {
  if (characters > MOST_CHARACTERS) throw new Unreachable("An event is too large.", true);
}

/** Whether somebody's signal ended the call. */
export function isAbort(thrown: unknown): boolean {
  return thrown instanceof Error && thrown.name === "AbortError";
}
