/** For pages, server actions and route handlers: who is signed in, and clients that act for them. */
import { openaiOptions, Relay, type RelayUser, SignInFailed } from "@relay-sdk/core";
import { isGood, type RelayApp, type Session, SESSION_SECONDS } from "./app.js";

export interface PageOptions {
  /**
   * The page's own path. A page cannot set cookies, so where the token has to be renewed the browser is sent to the
   * handler that does, and comes back here. Without it a page gets SignInFailed `renewal_needed` then.
   */
  returnTo?: string;
}

/** The user's bearer. Throws SignInFailed (`signed_out`, `renewal_needed`, OAuth's codes), ApiError, Unreachable. */
export async function getRelayToken(app: RelayApp, options: PageOptions = {}): Promise<string> {
  return tokenOf(app, options);
}

/** Null where nobody is signed in. Throws as `getRelayToken` for everything else. */
export async function getUser(app: RelayApp, options: PageOptions = {}): Promise<RelayUser | null> {
  try {
    return await getRelay(app, options).user();
  } catch (error) {
    if (error instanceof SignInFailed && error.code === "signed_out") return null;
    throw error;
  }
}

/** A client that acts for the user of this request. Do not keep it longer. */
export function getRelay(app: RelayApp, options: PageOptions = {}): Relay {
  const { url, controlUrl, fetch } = app.options;
  const tokens = { token: (refused?: string) => tokenOf(app, options, refused) };
  return new Relay({ url, controlUrl, tokens, ...(fetch ? { fetch } : {}) });
}

/** What `new OpenAI(...)` is made with, to act for the user of this request. */
export function getOpenAIOptions(app: RelayApp, options: PageOptions = {}) {
  return openaiOptions(getRelay(app, options));
}

async function tokenOf(app: RelayApp, options: PageOptions, refused?: string): Promise<string> {
  const cookies = await app.options.cookies();
  const name = app.cookieName("session");
  const text = cookies.get(name)?.value;
  const session = await app.unseal<Session>("session", text);
  if (!session || !text) throw new SignInFailed("signed_out", "Nobody is signed in here.");
  if (isGood(session, refused)) return session.accessToken;
  const kept = app.cookieOptions(SESSION_SECONDS);
  try {
    cookies.set(name, text, kept); // before a refresh token is spent: can the next one be kept?
  } catch {
    return elsewhere(app, options);
  }
  try {
    const next = await app.renewed(session);
    cookies.set(name, await app.seal("session", next), kept);
    return next.accessToken;
  } catch (error) {
    if (error instanceof SignInFailed) cookies.set(name, "", app.cookieOptions(0));
    throw error;
  }
}

function elsewhere(app: RelayApp, { returnTo }: PageOptions): never {
  const way = `${app.path}/refresh`;
  if (returnTo === undefined) {
    throw new SignInFailed("renewal_needed", `A page cannot renew a token; send the browser to ${way}.`);
  }
  return app.options.redirect(`${way}?${new URLSearchParams({ returnTo })}`);
}
