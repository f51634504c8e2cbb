/** What is sent, and what comes back: the half of the client that does no I/O. */
import { ApiError, errorOf } from "./errors.js";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json | undefined };
/** JSON, or bytes with a `content-type` of yours. */
export type Body = Json | Uint8Array<ArrayBuffer> | ArrayBuffer | Blob;
export type Parameters = Record<string, string | number | boolean | null | undefined>;

/** A request that is not made yet. `isRepeatable`: twice is as once. */
export interface Call {
  method: string;
  url: string;
  body: BodyInit | null;
  headers: Headers;
  isRepeatable: boolean;
}

export interface CallOptions {
  /** Ends the call; what is thrown then is the signal's own reason. */
  signal?: AbortSignal;
}

export interface StreamOptions extends CallOptions {
  method?: string;
  headers?: HeadersInit;
  params?: Parameters;
}

export interface SendOptions extends StreamOptions {
  /** With one, the call is made once, however often it is tried. */
  idempotencyKey?: string;
}

/**
 * What an endpoint answered. `isQueued`: a 202 of the relay's own, committed, with targets still to be called; else it is
 * the sync target's own answer, whatever its status.
 */
export class Answer {
  readonly requestId: string;
  readonly isQueued: boolean;
  readonly status: number;
  readonly headers: Headers;
  /** Who answered; empty for a queued call. */
  readonly target: string;
  /** The answer to an earlier call with the same Idempotency-Key. */
  readonly isRepeated: boolean;

  constructor(
    answer: Response,
    readonly content: Uint8Array,
  ) {
    this.headers = answer.headers;
    this.status = answer.status;
    this.requestId = this.headers.get("x-request-id") ?? "";
    this.target = this.headers.get("x-relay-target") ?? "";
    this.isQueued = answer.status === 202 && !this.target;
    this.isRepeated = this.headers.get("idempotent-replayed") === "true";
  }

  /** The body as text. */
  text(): string {
    return new TextDecoder().decode(this.content);
  }

  /** The body as JSON. Throws SyntaxError. */
  json(): unknown {
    return JSON.parse(this.text());
  }
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/;

/** A call to `/r/{project}/{line}/{endpoint}`. Throws TypeError for what is no name. */
export function endpointCall(edgeUrl: string, place: string[], body: Body, options: SendOptions): Call {
  for (const name of place) {
    if (!NAME.test(name)) throw new TypeError(`${JSON.stringify(name)} is no name of a project, line or endpoint.`);
  }
  const [content, kind] = contentOf(body);
  const headers = new Headers(options.headers);
  if (!headers.has("content-type")) headers.set("content-type", kind);
  if (options.idempotencyKey !== undefined) headers.set("idempotency-key", options.idempotencyKey);
  return {
    method: options.method ?? "POST",
    url: withParameters(`${edgeUrl}/r/${place.join("/")}`, options.params),
    body: content,
    headers,
    isRepeatable: options.idempotencyKey !== undefined,
  };
}

/** A GET. Parameters that are null or undefined are left out. */
export function read(url: string, params: Parameters = {}): Call {
  return { method: "GET", url: withParameters(url, params), body: null, headers: new Headers(), isRepeatable: true };
}

/** An address from outside, without a slash at its end. Throws TypeError. */
export function addressOf(url: string): string {
  const { protocol, href, search, hash } = new URL(url);
  if (!/^https?:$/.test(protocol) || search || hash) throw new TypeError(`${url} is no address with http or https.`);
  return href.replace(/\/+$/, "");
}

/**
 * The relay's own error; null for every answer that is somebody's, whatever its status. Only the relay says whose fault
 * an error is, and it takes that header off what targets answer.
 */
export function refusal(answer: Response, body: string): ApiError | null {
  const isTargets = answer.headers.has("x-relay-target") && !answer.headers.has("x-relay-error-source");
  return answer.status < 400 || isTargets ? null : errorOf(answer.status, answer.headers, body);
}

function contentOf(body: Body): [BodyInit, string] {
  if (body instanceof ArrayBuffer || body instanceof Uint8Array) return [body, "application/octet-stream"];
  if (body instanceof Blob) return [body, body.type || "application/octet-stream"];
  return [JSON.stringify(body), "application/json"];
}

function withParameters(url: string, params: Parameters = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined) query.set(name, String(value));
  }
  return query.size ? `${url}?${query}` : url;
}
