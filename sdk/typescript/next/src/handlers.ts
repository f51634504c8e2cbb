/**
 * Route handlers, for `app/api/relay/[...relay]/route.ts`.
 *
 * | | |
 * |---|---|
 * | `GET sign-in?returnTo=` | to the relay, with state and verifier in a sealed cookie |
 * | `GET callback` | checks `state` and `iss`, keeps the tokens in a sealed http-only cookie |
 * | `GET refresh?returnTo=` | renews and goes on: for pages, which cannot set cookies |
 * | `POST refresh` | renews: 204, or 401 |
 * | `POST sign-out?returnTo=` | forgets and revokes |
 *
 * No answer has a token in it.
 */
import { RelayError, SignInFailed } from "@relay-sdk/core";
import { ASKED_SECONDS, type RelayApp, type Session, SESSION_SECONDS, sessionOf } from "./app.js";

type Handler = (request: Request) => Promise<Response>;
type Asked = Parameters<RelayApp["application"]["end"]>[1] & { endsAt: number };

/** What `app/api/relay/[...relay]/route.ts` exports: sign-in, callback, refresh and sign-out. */
export function createRelayHandlers(app: RelayApp): { GET: Handler; POST: Handler } {
  return {
    GET: routed({ "sign-in": signIn, callback, refresh: refreshAndGoOn }),
    POST: routed({ refresh: sameOrigin(refresh), "sign-out": sameOrigin(signOut) }),
  };

  function routed(routes: Record<string, (request: Request, said: URLSearchParams) => Promise<Response>>): Handler {
    return (request) => {
      const url = new URL(request.url);
      const name = url.pathname.split("/").at(-1) ?? "";
      const route = Object.hasOwn(routes, name) ? routes[name] : undefined;
      return route ? route(request, url.searchParams) : Promise.resolve(answered(404, []));
    };
  }

  async function signIn(_request: Request, said: URLSearchParams): Promise<Response> {
    const { scope } = app.options;
    const referral = said.get("referral");
    const { url, asked } = await app.application.begin({
      redirectUri: app.redirectUri,
      returnTo: app.localUrl(said.get("returnTo")).href,
      ...(scope ? { scope } : {}),
      ...(referral ? { referral } : {}),
    });
    const kept = { ...asked, endsAt: Date.now() + ASKED_SECONDS * 1000 };
    return redirected(url, [cookie("asked", await app.seal("asked", kept), ASKED_SECONDS)]);
  }

  async function callback(request: Request): Promise<Response> {
    const asked = await app.unseal<Asked>("asked", cookieOf(request, app.cookieName("asked")));
    const spent = cookie("asked", "", 0);
    try {
      const tokens = await app.application.end(request.url, asked && asked.endsAt > Date.now() ? asked : null);
      return redirected(asked!.returnTo, [spent, await sessionCookie(sessionOf(tokens))]);
    } catch (error) {
      return failed(error, [spent]);
    }
  }

  async function refreshAndGoOn(request: Request, said: URLSearchParams): Promise<Response> {
    try {
      return redirected(app.localUrl(said.get("returnTo")).href, [await sessionCookie(await renewed(request))]);
    } catch (error) {
      return failed(error, error instanceof SignInFailed ? [cookie("session", "", 0)] : []);
    }
  }

  async function refresh(request: Request): Promise<Response> {
    try {
      return answered(204, [await sessionCookie(await renewed(request))]);
    } catch (error) {
      if (error instanceof SignInFailed) return answered(401, [cookie("session", "", 0)]);
      if (error instanceof RelayError) return answered(503, []);
      throw error;
    }
  }

  async function signOut(request: Request, said: URLSearchParams): Promise<Response> {
    const session = await sessionIn(request);
    const forgotten = [cookie("session", "", 0)];
    try {
      if (session) await app.application.revoke(session.refreshToken || session.accessToken);
    } catch (error) {
      return failed(error, forgotten);
    }
    return redirected(app.localUrl(said.get("returnTo")).href, forgotten);
  }

  async function renewed(request: Request): Promise<Session> {
    const session = await sessionIn(request);
    if (!session) throw new SignInFailed("signed_out", "Nobody is signed in here.");
    return app.renewed(session);
  }

  function sessionIn(request: Request): Promise<Session | null> {
    return app.unseal<Session>("session", cookieOf(request, app.cookieName("session")));
  }

  async function sessionCookie(session: Session): Promise<string> {
    return cookie("session", await app.seal("session", session), SESSION_SECONDS);
  }

  function cookie(kind: "session" | "asked", value: string, seconds: number): string {
    const secure = app.isSecure ? "; Secure" : "";
    return `${app.cookieName(kind)}=${value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${seconds}${secure}`;
  }

  /** To a page of this site that reads `relay_error`: OAuth's code, or `unreachable`. */
  function failed(error: unknown, cookies: string[]): Response {
    if (!(error instanceof RelayError)) throw error;
    const url = app.localUrl(app.options.errorPath ?? "/");
    url.searchParams.set("relay_error", "code" in error ? String(error.code) : "unreachable");
    return redirected(url.href, cookies);
  }

  /** What changes something takes no other site's word (a browser says `Origin` with each POST). */
  function sameOrigin(handler: (request: Request, said: URLSearchParams) => Promise<Response>): typeof handler {
    return async (request, said) =>
      request.headers.get("origin") === app.baseUrl ? handler(request, said) : answered(403, []);
  }
}

function redirected(url: string, cookies: string[]): Response {
  return answered(303, cookies, { location: url });
}

function answered(status: number, cookies: string[], more: Record<string, string> = {}): Response {
  const headers = new Headers({ "cache-control": "no-store", ...more });
  for (const one of cookies) headers.append("set-cookie", one);
  return new Response(null, { status, headers });
}

function cookieOf(request: Request, name: string): string | undefined {
  const found = (request.headers.get("cookie") ?? "").split("; ").find((one) => one.startsWith(`${name}=`));
  return found?.slice(name.length + 1);
}
