/** The client: a relay, as one relay key or one user's token sees it. */
import {
  addressOf, Answer, type Body, type Call, type CallOptions, endpointCall, type Parameters, read, refusal,
  type SendOptions, type StreamOptions,
} from "./calls.js";
import { errorOf, RelayError, Unreachable } from "./errors.js";
import { type RelayUser, userOf } from "./oauth.js";
import { RETRIES, type Retries, waitBefore } from "./retries.js";
import { isAbort, RelayStream } from "./streams.js";
import { fetchSigned, type TokenProvider } from "./tokens.js";

export interface RelayOptions {
  /** Of the edge. */
  url: string;
  /** Of the control plane; needed for `balance`, `usage`, `user` and `topUpUrl`. */
  controlUrl?: string;
  tokens: TokenProvider;
  retries?: Partial<Retries>;
  /** How long one try may take, streams aside. Models think for minutes. */
  timeoutSeconds?: number;
  fetch?: typeof fetch;
}

/** Amounts are micro-credits: 1,000,000 are one credit. `available`: the balance less what is held for calls on their way. */
export interface Wallet {
  id: number;
  mode: string;
  balance: number;
  held: number;
  available: number;
}

const NOT_SENT = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"]; // what Node says

/** Methods throw ApiError for a refusal of the relay's own, Unreachable without an answer, SignInFailed without a token. */
export class Relay {
  readonly url: string;
  readonly controlUrl: string | null;
  readonly tokens: TokenProvider;
  readonly #retries: Retries;
  readonly #timeoutMs: number;
  readonly #fetch: typeof fetch;

  constructor(options: RelayOptions) {
    this.url = addressOf(options.url);
    this.controlUrl = options.controlUrl ? addressOf(options.controlUrl) : null;
    this.tokens = options.tokens;
    this.#retries = { ...RETRIES, ...options.retries };
    this.#timeoutMs = (options.timeoutSeconds ?? 600) * 1000;
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  /**
   * Calls an endpoint: it is queued for its targets, or a sync target answers. What a sync target answers is returned
   * whatever its status. Endpoints take relay keys, not users' tokens.
   */
  send(project: string, line: string, endpoint: string, body: Body, options: SendOptions = {}): Promise<Answer> {
    const call = endpointCall(this.url, [project, line, endpoint], body, options);
    return this.#tried(call, options, (answer, content) => {
      const refused = refusal(answer, answer.status < 400 ? "" : new TextDecoder().decode(content));
      if (refused) throw refused;
      return new Answer(answer, content);
    });
  }

  /** The answer of an endpoint's stream target, as it comes. It is never tried twice. */
  async stream(
    project: string, line: string, endpoint: string, body: Body, options: StreamOptions = {},
  ): Promise<RelayStream> {
    const answer = await this.#sent(endpointCall(this.url, [project, line, endpoint], body, options), options.signal);
    if (refusal(answer, "")) throw refusal(answer, await textOf(answer));
    return new RelayStream(answer);
  }

  /** Names of the models that the key or token reaches, aliases too. */
  async models(options: CallOptions = {}): Promise<string[]> {
    const listed = (await this.get(`${this.url}/v1/models`, {}, options)) as { data: { id: string }[] };
    return listed.data.map((one) => one.id);
  }

  /**
   * The wallet that a relay key's calls have to be paid from; with a user's token (scope `account`) the user's own, or a
   * project's, of the mode `live` unless said. Null where there is none, or none that the bearer may see.
   */
  async balance(options: CallOptions & { project?: string; mode?: string } = {}): Promise<Wallet | null> {
    const { project, mode } = options;
    const isKeys = !project && !mode && (await this.tokens.token()).startsWith("rk_");
    const path = isKeys ? "relay-keys/self" : "wallets";
    const params = isKeys ? {} : { project, mode: mode ?? "live", limit: 1 };
    const said = (await this.get(`${this.#api()}/${path}`, params, options)) as Page<Wallet> & { wallet: Wallet };
    return (isKeys ? said.wallet : said.results[0]) ?? null;
  }

  /**
   * Sums of the last thirty days by `model`, `key`, `app` or `user`, of the user's own calls unless a `project` is named;
   * filters are those of `GET /api/v1/usage/summary`. `charge` is in micro-credits.
   */
  async usage(filters: Parameters = {}, options: CallOptions = {}): Promise<Record<string, unknown>[]> {
    const found: Record<string, unknown>[] = [];
    let after: string | number | null | undefined;
    do {
      const asked = { by: "model", mine: filters["project"] === undefined ? true : null, ...filters, after };
      const page = (await this.get(`${this.#api()}/usage/summary`, asked, options)) as Page<Record<string, unknown>>;
      found.push(...page.results);
      after = page.next;
    } while (after !== null && after !== undefined);
    return found;
  }

  /** Who the token's user is, and what the application's wallet has for calls. Not for relay keys. */
  async user(options: CallOptions = {}): Promise<RelayUser> {
    return userOf(await this.get(`${this.#control()}/oauth/userinfo`, {}, options));
  }

  /** The portal's page where users add credits to their own wallet. */
  topUpUrl(): string {
    return `${this.#control()}/portal/wallet`;
  }

  /** JSON of edge or control plane. */
  get(url: string, params: Parameters = {}, options: CallOptions = {}): Promise<unknown> {
    return this.#tried(read(url, params), options, (answer, content) => {
      const said = new TextDecoder().decode(content);
      if (answer.status >= 400) throw errorOf(answer.status, answer.headers, said);
      return said ? JSON.parse(said) : null;
    });
  }

  /** Whether an address is below the relay's own. Nothing else ever gets the bearer. */
  owns(url: string): boolean {
    const { href } = new URL(url);
    return [this.url, this.controlUrl].some((own) => own !== null && href.startsWith(`${own}/`));
  }

  /** One signed call, and one more with another token where that one was refused. Throws RangeError for other origins. */
  async fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const url = input instanceof Request ? input.url : input.toString();
    if (!this.owns(url)) throw new RangeError(`${new URL(url).origin} is not the relay; its token is not sent there.`);
    return fetchSigned(this.#fetch, this.tokens, input, init);
  }

  async #tried<T>(call: Call, options: CallOptions, answered: (answer: Response, content: Uint8Array) => T): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        const timeout = AbortSignal.timeout(this.#timeoutMs);
        const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
        const answer = await this.#sent(call, signal);
        return answered(answer, await bytesOf(answer));
      } catch (error) {
        const wait = error instanceof RelayError ? waitBefore(this.#retries, attempt, error, call.isRepeatable) : null;
        if (wait === null) throw error;
        await slept(wait * 1000, options.signal);
      }
    }
  }

  async #sent(call: Call, signal: AbortSignal | undefined): Promise<Response> {
    const { method, headers, body } = call;
    try {
      return await this.fetch(call.url, { method, headers, body, ...(signal ? { signal } : {}) });
    } catch (error) {
      throw broken(error);
    }
  }

  #control(): string {
    if (this.controlUrl === null) throw new TypeError("Say where the control plane is: `controlUrl`.");
    return this.controlUrl;
  }

  #api(): string {
    return `${this.#control()}/api/v1`;
  }
}

interface Page<T> {
  results: T[];
  next?: string | number | null;
}

async function bytesOf(answer: Response): Promise<Uint8Array> {
  if (answer.type === "opaqueredirect") throw new Unreachable("The relay redirects, which a page cannot see.", true);
  try {
    return new Uint8Array(await answer.arrayBuffer());
  } catch (error) {
    throw broken(error);
  }
}

async function textOf(answer: Response): Promise<string> {
  return new TextDecoder().decode(await bytesOf(answer));
}

/** What became of a call that has no whole answer. Whoever ended it by a signal gets the signal's reason. */
function broken(error: unknown): unknown {
  if (error instanceof RelayError || isAbort(error)) return error;
  const cause = error instanceof Error ? (error.cause as { code?: string } | undefined) : undefined;
  if (error instanceof Error && error.name === "TimeoutError") return new Unreachable("It took too long.", true, error);
  if (!(error instanceof TypeError)) return error;
  return new Unreachable(cause?.code ?? "The relay cannot be reached.", !NOT_SENT.includes(cause?.code ?? ""), error);
}

async function slept(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}
