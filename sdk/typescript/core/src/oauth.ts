/**
 * The relay's authorization server, as a program sees it: RFC 6749 with PKCE (RFC 7636) and `iss` (RFC 9207).
 *
 * It is OAuth 2 alone, without ID tokens, so there is no `nonce`: that is a claim of an ID token (OpenID Connect Core,
 * section 3.1.2.1), and the server takes none. `state` ties an answer to who asked, `iss` to whom was asked, and PKCE the
 * code to this very client.
 */
import { addressOf } from "./calls.js";
import { ApiError, errorOf, parsed, SignInFailed, text, Unreachable } from "./errors.js";

const TIMEOUT_MS = 30_000; // other tabs wait for a renewal
const REFUSED = "The sign-in was refused or has ended."; // where the server says a code alone
export const SCOPE = "inference account offline_access";

/** What an answer of the token endpoint brings. `refreshToken` is empty without the scope `offline_access`. */
export interface Tokens {
  accessToken: string;
  refreshToken: string;
  /** From the answer's arrival: clocks of client and server need not agree. */
  expiresInSeconds: number;
}

/** What has to be kept, privately, from the way out to the way back. */
export interface Asked {
  state: string;
  verifier: string;
  redirectUri: string;
  /** Where the user was. */
  returnTo: string;
}

/** Of `/oauth/userinfo`. */
export interface RelayUser {
  id: string;
  name: string;
  mode: string;
  availableMicrocredits: number;
}

export interface ApplicationOptions {
  /** The control plane's address, as its tokens have it. */
  issuer: string;
  clientId: string;
  /** Of a confidential application: on servers alone. */
  clientSecret?: string;
  fetch?: typeof fetch;
}

/** An application of the relay. Methods throw SignInFailed for a refusal, ApiError for one that passes, Unreachable. */
export class Application {
  readonly issuer: string;
  readonly clientId: string;
  readonly #secret: string | undefined;
  readonly #fetch: typeof fetch;

  constructor(options: ApplicationOptions) {
    this.issuer = addressOf(options.issuer);
    this.clientId = options.clientId;
    this.#secret = options.clientSecret;
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  /** Where the user has to go, and what has to be kept meanwhile. */
  async begin(options: {
    redirectUri: string;
    scope?: string;
    returnTo?: string;
    /** The code of the user who brought this one. */
    referral?: string;
  }): Promise<{ url: string; asked: Asked }> {
    const { redirectUri, returnTo = "" } = options;
    const asked = { state: randomText(), verifier: randomText(), redirectUri, returnTo };
    const query = new URLSearchParams({
      response_type: "code",
      client_id: this.clientId,
      redirect_uri: redirectUri,
      scope: options.scope ?? SCOPE,
      state: asked.state,
      code_challenge: await challengeOf(asked.verifier),
      code_challenge_method: "S256",
      ...(options.referral ? { referral: options.referral } : {}),
    });
    return { url: `${this.issuer}/oauth/authorize?${query}`, asked };
  }

  /**
   * The tokens for a way back. `asked`: what was kept; null where it is lost. A code is sent once alone, whatever comes
   * of it: one that is sent twice ends the whole sign-in.
   */
  async end(url: string | URL, asked: Asked | null): Promise<Tokens> {
    const said = new URL(url).searchParams;
    if (!asked || said.get("state") !== asked.state) {
      throw new SignInFailed("lost_state", "This sign-in was not begun here, or was begun too long ago.");
    }
    if (said.get("iss") !== this.issuer) {
      throw new SignInFailed("wrong_issuer", "Another server answered than was asked.");
    }
    const code = said.get("code");
    if (!code) {
      const error = said.get("error") ?? "invalid_request";
      throw new SignInFailed(error, said.get("error_description") || REFUSED);
    }
    return this.#tokens({
      grant_type: "authorization_code",
      code,
      redirect_uri: asked.redirectUri,
      code_verifier: asked.verifier,
    });
  }

  /** The next pair; the one before is spent. */
  refresh(refreshToken: string): Promise<Tokens> {
    return this.#tokens({ grant_type: "refresh_token", refresh_token: refreshToken });
  }

  /** Ends a token, and with a refresh token everything that came of the same sign-in. */
  async revoke(token: string): Promise<void> {
    await this.#post("/oauth/revoke", { token });
  }

  async #tokens(form: Record<string, string>): Promise<Tokens> {
    const said = await this.#post("/oauth/token", form);
    const accessToken = text(said, "access_token");
    const expiresInSeconds = Number(said["expires_in"]);
    if (!accessToken || !(expiresInSeconds > 0)) {
      throw new Unreachable("No token came; check the issuer's address.", true);
    }
    return { accessToken, refreshToken: text(said, "refresh_token"), expiresInSeconds };
  }

  async #post(path: string, form: Record<string, string>): Promise<Record<string, unknown>> {
    const headers = new Headers();
    const body = new URLSearchParams({ client_id: this.clientId, ...form });
    if (this.#secret) {
      body.delete("client_id");
      headers.set("authorization", `Basic ${btoa(`${encodeURIComponent(this.clientId)}:${encodeURIComponent(this.#secret)}`)}`);
    }
    let answer: Response, said: string;
    try {
      answer = await this.#fetch(this.issuer + path, {
        method: "POST", headers, body, redirect: "error", credentials: "omit", signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      said = await answer.text();
    } catch (cause) {
      throw new Unreachable("The relay's sign-in cannot be reached.", true, cause);
    }
    if (answer.status >= 400) throw refusalOf(answer, said);
    return parsed(said);
  }
}

/** OAuth's refusals end something; 429 and what is the server's own pass. */
function refusalOf(answer: Response, body: string): SignInFailed | ApiError {
  const document = parsed(body);
  const code = text(document, "error");
  if (!code || answer.status === 429 || answer.status >= 500) return errorOf(answer.status, answer.headers, body);
  return new SignInFailed(code, text(document, "error_description") || text(document, "message") || REFUSED);
}

/** What `/oauth/userinfo` says. */
export function userOf(said: unknown): RelayUser {
  const found = said as { sub: string; preferred_username: string; balance: { mode: string; microcredits: number } };
  const { mode, microcredits } = found.balance;
  return { id: found.sub, name: found.preferred_username, mode, availableMicrocredits: microcredits };
}

/** 256 random bits: 43 characters of base64url. */
function randomText(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

async function challengeOf(verifier: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
}

/** Without padding (RFC 4648, section 5). */
export function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
