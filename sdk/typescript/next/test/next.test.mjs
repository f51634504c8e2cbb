// Handlers and server functions, with the cookies of a browser, against an authorization server on a port.
import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import { authorizationServer } from "../../core/test/double.mjs";
import { createRelayHandlers, getRelayToken, getUser, RelayApp } from "../dist/index.js";

const BASE = "https://app.example";
const SECRET = "s".repeat(32);
let server, app, handlers, jar, isPage;

function appOf(options = {}) {
  return new RelayApp({
    url: server.url, controlUrl: server.url, clientId: "app_1", baseUrl: BASE, secret: SECRET, errorPath: "/oops",
    cookies: async () => ({
      get: (name) => (jar.has(name) ? { value: jar.get(name) } : undefined),
      set: (name, value, options) => {
        if (isPage) throw new Error("Cookies can only be modified in a Server Action or Route Handler.");
        assert.deepEqual([options.httpOnly, options.secure, options.sameSite], [true, true, "lax"]);
        if (options.maxAge) jar.set(name, value);
        else jar.delete(name);
      },
    }),
    redirect: (url) => {
      throw Object.assign(new Error("redirect"), { url });
    },
    ...options,
  });
}

/** A request of the browser; it keeps the cookies of the answer. */
async function browse(method, path, { headers = {}, cookies = jar } = {}) {
  const sent = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
  const answer = await handlers[method](new Request(BASE + path, { method, headers: { cookie: sent, ...headers } }));
  for (const line of answer.headers.getSetCookie()) {
    assert.match(line, /^__Host-relay_(session|asked)=[\w-]*; Path=\/; HttpOnly; SameSite=Lax; Max-Age=\d+; Secure$/);
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
    if (value) jar.set(name, value);
    else jar.delete(name);
  }
  return { status: answer.status, location: answer.headers.get("location"), text: await answer.text() };
}

async function asked(returnTo = "/chat") {
  const { status, location } = await browse("GET", `/api/relay/sign-in?returnTo=${encodeURIComponent(returnTo)}`);
  assert.equal(status, 303);
  return new URL(location).searchParams.get("state");
}

const callback = (query) => browse("GET", `/api/relay/callback?${new URLSearchParams({ code: "good", iss: server.url, ...query })}`);
const signedIn = async (returnTo) => callback({ state: await asked(returnTo) });
const later = (test, ms) => test.mock.timers.enable({ apis: ["Date"], now: Date.now() + ms });
const own = { headers: { origin: BASE } };

beforeEach(async () => {
  server = await authorizationServer();
  [jar, isPage] = [new Map(), false];
  app = appOf();
  handlers = createRelayHandlers(app);
});
afterEach(() => server.close());

it("signs in with state, PKCE and sealed http-only cookies", async () => {
  const { status, location, text } = await signedIn();
  assert.deepEqual([status, location, text], [303, `${BASE}/chat`, ""]);
  assert.deepEqual([...jar.keys()], ["__Host-relay_session"]);
  assert.doesNotMatch(Buffer.from([...jar.values()][0], "base64url").toString("latin1"), /a1|r1|accessToken/);
  const form = new URLSearchParams(server.calls[0].body);
  assert.equal(form.get("code_verifier").length, 43);
  assert.equal(form.get("redirect_uri"), `${BASE}/api/relay/callback`);
  assert.equal(await getRelayToken(app), "a1");
});

it("refuses an answer that this browser did not ask for, and sends no code then", async () => {
  const state = await asked();
  for (const [query, code] of [[{ state: "other" }, "lost_state"], [{ state }, "lost_state"]]) {
    const { location } = await callback(query);
    assert.equal(location, `${BASE}/oops?relay_error=${code}`); // the second: its cookie was spent by the first
  }
  const { location } = await callback({ state: await asked(), iss: "https://evil.example" });
  assert.equal(location, `${BASE}/oops?relay_error=wrong_issuer`);
  assert.equal(server.calls.length, 0);
});

it("says that a code has expired, and that a sign-in waited too long", async (test) => {
  assert.equal((await callback({ state: await asked(), code: "expired" })).location, `${BASE}/oops?relay_error=invalid_grant`);
  const state = await asked();
  later(test, 601_000);
  assert.equal((await callback({ state })).location, `${BASE}/oops?relay_error=lost_state`);
});

it("goes back to this site alone", async () => {
  for (const elsewhere of ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]) {
    assert.equal((await signedIn(elsewhere)).location, `${BASE}/`);
  }
});

it("believes no cookie that it did not seal for this purpose", async () => {
  await asked();
  const forged = new Map([["__Host-relay_session", jar.get("__Host-relay_asked")]]);
  assert.equal((await browse("POST", "/api/relay/refresh", { ...own, cookies: forged })).status, 401);
  await signedIn();
  assert.equal(await getUser(appOf({ secret: "t".repeat(32) })), null);
  assert.throws(() => appOf({ secret: "short" }), TypeError);
});

it("renews once for all that ask at the same time, and for those that come late with the old cookie", async (test) => {
  await signedIn();
  const old = new Map(jar);
  later(test, 600_000);
  assert.deepEqual(await Promise.all([1, 2, 3].map(() => getRelayToken(app))), ["a2", "a2", "a2"]);
  assert.equal((await browse("POST", "/api/relay/refresh", { ...own, cookies: old })).status, 204);
  assert.equal(await getRelayToken(app), "a2");
  assert.deepEqual([server.refreshes(), server.isEnded()], [1, false]);
});

it("sends a page to the handler that can keep the next token, and spends none before", async (test) => {
  await signedIn();
  later(test, 600_000);
  isPage = true;
  await assert.rejects(getUser(app, { returnTo: "/chat?a=1" }), { url: "/api/relay/refresh?returnTo=%2Fchat%3Fa%3D1" });
  await assert.rejects(getRelayToken(app), { name: "SignInFailed", code: "renewal_needed" });
  assert.equal(server.refreshes(), 0);
  assert.equal((await browse("GET", "/api/relay/refresh?returnTo=%2Fchat")).location, `${BASE}/chat`);
  assert.equal(await getRelayToken(app), "a2");
});

it("stays signed in while the relay is away, and is signed out with the reason when the sign-in has ended", async (test) => {
  await signedIn();
  later(test, 600_000);
  server.behave(() => null);
  assert.equal((await browse("POST", "/api/relay/refresh", own)).status, 503);
  assert.equal((await browse("GET", "/api/relay/refresh")).location, `${BASE}/oops?relay_error=unreachable`);
  assert.equal(jar.size, 1);
  server.behave(() => ({ status: 400, body: { error: "invalid_grant" } }));
  assert.equal((await browse("GET", "/api/relay/refresh")).location, `${BASE}/oops?relay_error=invalid_grant`);
  assert.equal(jar.size, 0);
});

it("signs out, for this site's own pages alone, and tells the relay", async () => {
  await signedIn();
  for (const headers of [{}, { origin: "https://evil.example" }]) {
    assert.equal((await browse("POST", "/api/relay/sign-out", { headers })).status, 403);
  }
  assert.equal(jar.size, 1);
  const { status, location } = await browse("POST", "/api/relay/sign-out?returnTo=/bye", own);
  assert.deepEqual([status, location, jar.size], [303, `${BASE}/bye`, 0]);
  assert.equal(server.calls.at(-1).body, "client_id=app_1&token=r1");
  assert.equal(await getUser(app), null);
});

it("knows no other address", async () => {
  assert.equal((await browse("GET", "/api/relay/sign-out")).status, 404);
  assert.equal((await browse("POST", "/api/relay/constructor", own)).status, 404);
});
