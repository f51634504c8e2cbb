/** What an application of the App Router says of itself, once, on the server. */
import { Application, SignInFailed, type Tokens } from "@relay-sdk/core";
import { seal, sealingKey, unseal } from "./sealing.js";

/** `cookies` of `next/headers`. */
export type Cookies = () => Promise<{
  get(name: string): { value: string } | undefined;
  set(name: string, value: string, options: CookieOptions): unknown;
}>;

export interface CookieOptions {
  httpOnly: true;
  secure: boolean;
  sameSite: "lax";
  path: "/";
  maxAge: number;
}

export interface RelayAppOptions {
  /** Of the edge. */
  url: string;
  /** Of the control plane, which is the issuer. */
  controlUrl: string;
  clientId: string;
  /** Of a confidential application. */
  clientSecret?: string;
  /** Where users see this site, `https://app.example`: no header of a request is believed. */
  baseUrl: string;
  /** Where the handlers are; `/api/relay` unless said. */
  path?: string;
  /** At least 32 characters that nobody knows: cookies are encrypted with it. */
  secret: string;
  scope?: string;
  cookies: Cookies;
  /** `redirect` of `next/navigation`. */
  redirect: (url: string) => never;
  /** Where a sign-in that failed leads, with `?relay_error=`; `/` unless said. */
  errorPath?: string;
  /** How renewals of one refresh token become one; by a memory of this process unless said. */
  renewals?: Renewals;
  fetch?: typeof fetch;
}

/**
 * Makes `renew` run once for a refresh token, whoever asks, and gives all who ask within a minute its answer. A refresh
 * token that is used twice ends the sign-in; several processes need one that they share.
 */
export type Renewals = (refreshToken: string, renew: () => Promise<Tokens>) => Promise<Tokens>;

/** What a browser keeps, sealed. `renewAt`: Unix milliseconds by this server's clock, from the tokens' arrival. */
export interface Session {
  accessToken: string;
  refreshToken: string;
  renewAt: number;
}

export const SESSION_SECONDS = 30 * 24 * 3600; // as long as a refresh token lives
export const ASKED_SECONDS = 600;
const EARLY_SECONDS = 90; // a renewal's answer may be a minute old when it is counted from

/** Make one for the whole site. */
export class RelayApp {
  readonly application: Application;
  readonly renewals: Renewals;
  readonly baseUrl: string;
  readonly path: string;
  readonly #keys = new Map<string, Promise<CryptoKey>>();

  /** Throws TypeError for options that cannot be used. */
  constructor(readonly options: RelayAppOptions) {
    if (options.secret.length < 32) throw new TypeError("`secret` has to have at least 32 characters.");
    this.application = new Application({ ...options, issuer: options.controlUrl });
    this.renewals = options.renewals ?? ownRenewals();
    this.baseUrl = new URL(options.baseUrl).origin;
    this.path = options.path ?? "/api/relay";
  }

  get redirectUri(): string {
    return `${this.baseUrl}${this.path}/callback`;
  }

  get isSecure(): boolean {
    return this.baseUrl.startsWith("https:");
  }

  /** Of a cookie; with the prefix that keeps other hosts from setting it (RFC 6265bis, section 4.1.3.2). */
  cookieName(kind: "session" | "asked"): string {
    return `${this.isSecure ? "__Host-" : ""}relay_${kind}`;
  }

  cookieOptions(maxAge: number): CookieOptions {
    return { httpOnly: true, secure: this.isSecure, sameSite: "lax", path: "/", maxAge };
  }

  seal(kind: "session" | "asked", value: object): Promise<string> {
    return this.#key(kind).then((key) => seal(key, value));
  }

  /** Null for what this site has not sealed for this purpose. */
  async unseal<T>(kind: "session" | "asked", text: string | undefined): Promise<T | null> {
    return text ? ((await unseal(await this.#key(kind), text)) as T | null) : null;
  }

  /** An address of this site; its start page for every other. */
  localUrl(path: string | null): URL {
    const home = new URL("/", this.baseUrl);
    if (!path?.startsWith("/")) return home;
    const found = new URL(path, this.baseUrl);
    return found.origin === this.baseUrl ? found : home;
  }

  /** The next pair, once for all who ask. Throws SignInFailed, ApiError, Unreachable. */
  async renewed(session: Session): Promise<Session> {
    const { refreshToken } = session;
    if (!refreshToken) throw new SignInFailed("invalid_grant", "The sign-in has ended.");
    return sessionOf(await this.renewals(refreshToken, () => this.application.refresh(refreshToken)));
  }

  #key(kind: string): Promise<CryptoKey> {
    const known = this.#keys.get(kind) ?? sealingKey(this.options.secret, kind);
    this.#keys.set(kind, known);
    return known;
  }
}

export function sessionOf(tokens: Tokens): Session {
  const { accessToken, refreshToken, expiresInSeconds } = tokens;
  const goodSeconds = Math.max(expiresInSeconds - EARLY_SECONDS, expiresInSeconds / 2);
  return { accessToken, refreshToken, renewAt: Date.now() + goodSeconds * 1000 };
}

export function isGood(session: Session, refused?: string): boolean {
  return session.accessToken !== refused && session.renewAt > Date.now();
}

const KEPT_MS = 60_000;

/** Of one process. A renewal that failed is forgotten at once; it may be tried again. */
export function ownRenewals(): Renewals {
  const known = new Map<string, { at: number; tokens: Promise<Tokens> }>();
  return (refreshToken, renew) => {
    for (const [name, one] of known) if (Date.now() - one.at > KEPT_MS) known.delete(name);
    const found = known.get(refreshToken);
    if (found) return found.tokens;
    const tokens = renew().catch((error: unknown) => {
      known.delete(refreshToken);
      throw error;
    });
    known.set(refreshToken, { at: Date.now(), tokens });
    return tokens;
  };
}
