/**
 * Where the bearer of a call comes from, and how it gets onto the call.
 */

/** `refused` is a token that the relay has just answered with 401, so that it is not returned again. */
export interface TokenProvider {
  /** The bearer to send. Throws SignInFailed where there is none to be had. */
  token(refused?: string): string | Promise<string>;
}

/** A relay key, which is what it is: a refused one stays refused. Never give one to a page. */
export class ApiKeyTokens implements TokenProvider {
  readonly #key: string;

  constructor(key: string) {
    if (!key) throw new TypeError("A relay key is missing.");
    this.#key = key;
  }

  token(): string {
    return this.#key;
  }
}

const UNAUTHORIZED = 401;
const CREDENTIALS = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];

/**
 * Puts the bearer on a call, and calls once more with another one when it was refused.
 *
 * A 401 is answered before anything is done, so calling again repeats nothing. Other credentials that a vendor's SDK
 * may have put there go: two that disagree are refused. Redirects are answers, so no bearer follows one.
 */
export async function fetchSigned(
  send: typeof fetch,
  tokens: TokenProvider,
  input: string | URL | Request,
  init: RequestInit = {},
): Promise<Response> {
  const request = input instanceof Request ? new Request(input, init) : null;
  const url = request ? request.url : input.toString();
  const sent: RequestInit = request ? await plain(request) : { ...init };
  const call = (token: string) => {
    const headers = new Headers(sent.headers);
    for (const name of CREDENTIALS) headers.delete(name);
    headers.set("authorization", `Bearer ${token}`);
    return send(url, { ...sent, headers, redirect: "manual", credentials: "omit" });
  };
  const token = await tokens.token();
  const answer = await call(token);
  if (answer.status !== UNAUTHORIZED || !isRepeatable(sent.body)) return answer;
  const another = await tokens.token(token);
  if (another === token) return answer;
  await answer.body?.cancel();
  return call(another);
}

/** A Request whose body is read, so that it can be sent again. */
async function plain(request: Request): Promise<RequestInit> {
  const body = request.body === null ? null : await request.arrayBuffer();
  return { method: request.method, headers: request.headers, signal: request.signal, body };
}

/** A body that is read from somewhere while it is sent cannot be sent again. */
function isRepeatable(body: BodyInit | null | undefined): boolean {
  if (body === null || body === undefined || typeof body === "string") return true;
  const kept = [ArrayBuffer, Blob, FormData, URLSearchParams];
  return ArrayBuffer.isView(body) || kept.some((kind) => body instanceof kind);
}
