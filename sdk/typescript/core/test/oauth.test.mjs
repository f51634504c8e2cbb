// Sign-in and renewal against an authorization server on a port: races of tabs, lost state, skewed clocks, offline.
import assert from "node:assert/strict";
import { after, beforeEach, describe, it } from "node:test";
import { OAuthTokens, Unreachable } from "../dist/index.js";
import { authorizationServer, channels, locks } from "./double.mjs";

const REDIRECT = "https://app.example/cb";
let server, clock, tab;

/** Tabs of one origin. */
function origin() {
  const shared = locks();
  const channel = channels();
  return (options = {}) =>
    new OAuthTokens({
      issuer: server.url, clientId: "app_1", redirectUri: REDIRECT, locks: shared, channel: channel(),
      clock: { steady: () => clock.steady, wall: () => clock.wall }, ...options,
    });
}

async function wayBack(tokens, changes = {}) {
  const asked = new URL(await tokens.signInUrl({ returnTo: "/chat" }));
  const query = { code: "good", state: asked.searchParams.get("state"), iss: server.url, ...changes };
  return `${REDIRECT}?${new URLSearchParams(query)}`;
}

async function signedIn(options) {
  const tokens = tab(options);
  assert.equal(await tokens.finishSignIn(await wayBack(tokens)), "/chat");
  return tokens;
}

const passed = (seconds) => ((clock.steady += seconds * 1000), (clock.wall += seconds * 1000));
const failsWith = (code) => (error) => error.name === "SignInFailed" && error.code === code;

describe("OAuthTokens", () => {
  beforeEach(async () => {
    server?.close();
    server = await authorizationServer();
    clock = { steady: 1000, wall: Date.UTC(2026, 0, 1) };
    tab = origin();
  });
  after(() => server.close());

  it("asks with S256 and proves it at the token endpoint", async () => {
    const tokens = tab();
    const asked = new URL(await tokens.signInUrl({ referral: "R1" }));
    const { state, code_challenge, ...rest } = Object.fromEntries(asked.searchParams);
    assert.deepEqual(rest, {
      response_type: "code", client_id: "app_1", redirect_uri: REDIRECT, code_challenge_method: "S256",
      scope: "inference account offline_access", referral: "R1",
    });
    await tokens.finishSignIn(`${REDIRECT}?${new URLSearchParams({ code: "good", state, iss: server.url })}`);
    const form = Object.fromEntries(new URLSearchParams(server.calls[0].body));
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(form.code_verifier));
    assert.equal(code_challenge, Buffer.from(hash).toString("base64url"));
    assert.deepEqual([form.code, form.redirect_uri, form.client_id], ["good", REDIRECT, "app_1"]);
    assert.deepEqual(tokens.state, { isSignedIn: true, reason: "" });
    assert.equal(await tokens.token(), "a1");
  });

  it("refuses an answer that it did not ask for, from elsewhere, or that says no; and sends no code then", async () => {
    const tokens = tab();
    for (const [changes, code] of [
      [{ state: "another" }, "lost_state"],
      [{ iss: "https://evil.example" }, "wrong_issuer"],
      [{ code: "", error: "access_denied" }, "access_denied"],
    ]) {
      await assert.rejects(tokens.finishSignIn(await wayBack(tokens, changes)), failsWith(code));
    }
    assert.equal(server.calls.length, 0);
    assert.equal(tokens.state.isSignedIn, false);
  });

  it("says that a code has expired, and sends a code once however often it is asked", async () => {
    const tokens = tab();
    await assert.rejects(tokens.finishSignIn(await wayBack(tokens, { code: "expired" })), failsWith("invalid_grant"));
    const address = await wayBack(tokens);
    await Promise.all([tokens.finishSignIn(address), tokens.finishSignIn(address)]);
    await tokens.finishSignIn(address);
    assert.equal(server.calls.length, 2);
  });

  it("renews once for many calls, early, and after a refusal", async () => {
    const tokens = await signedIn();
    passed(569);
    assert.equal(await tokens.token(), "a1");
    passed(2);
    assert.deepEqual(await Promise.all([1, 2, 3].map(() => tokens.token())), ["a2", "a2", "a2"]);
    assert.deepEqual(await Promise.all([1, 2].map(() => tokens.token("a2"))), ["a3", "a3"]);
    assert.equal(await tokens.token("a2"), "a3");
    assert.equal(server.refreshes(), 2);
  });

  it("lets two tabs race without spending a refresh token twice", async () => {
    const first = await signedIn();
    const second = tab();
    assert.equal(await second.restore(), true);
    assert.equal(await second.token(), "a1");
    for (const round of [2, 3, 4]) {
      passed(600);
      const found = await Promise.all([first.token(), second.token(), first.token(), second.token()]);
      assert.deepEqual(found, Array(4).fill(`a${round}`));
      assert.equal(server.refreshes(), round - 1);
    }
    assert.equal(server.isEnded(), false);
  });

  it("signs every tab out, and tells the relay", async () => {
    const first = await signedIn();
    const second = tab();
    await second.restore();
    const heard = new Promise((resolve) => second.subscribe(resolve));
    await first.signOut();
    await heard;
    assert.deepEqual(second.state, { isSignedIn: false, reason: "" });
    await assert.rejects(second.token(), failsWith("signed_out"));
    assert.equal(server.calls.at(-1).body, "client_id=app_1&token=r1");
  });

  it("does not sign in again by a renewal that was under way when the user signed out", async () => {
    const tokens = await signedIn();
    let answer;
    server.behave(() => new Promise((resolve) => (answer = resolve)));
    const renewal = assert.rejects(tokens.token("a1"), failsWith("signed_out"));
    while (!answer) await new Promise(setImmediate);
    const late = answer;
    server.behave(() => ({ body: {} }));
    await tokens.signOut();
    late({ body: { access_token: "a9", refresh_token: "r9", expires_in: 600 } });
    await renewal;
    assert.equal(tokens.state.isSignedIn, false);
  });

  it("reckons ends from arrival, whatever the clock says", async () => {
    const tokens = await signedIn();
    clock.wall -= 86_400_000; // set back a day: the steady clock counts
    assert.equal(await tokens.token(), "a1");
    clock.steady += 600_000;
    assert.equal(await tokens.token(), "a2");
    clock.wall += 700_000; // slept: the steady clock stood still
    assert.equal(await tokens.token(), "a3");
  });

  it("signs out with the reason when the sign-in has ended", async () => {
    const tokens = await signedIn();
    server.behave(() => ({ status: 400, body: { error: "invalid_grant" } }));
    await assert.rejects(tokens.token("a1"), failsWith("invalid_grant"));
    assert.deepEqual(tokens.state, { isSignedIn: false, reason: "invalid_grant" });
  });

  it("stays signed in offline, and uses what is left of a token", async () => {
    const tokens = await signedIn();
    server.behave(() => null);
    passed(580);
    assert.equal(await tokens.token(), "a1");
    await assert.rejects(tokens.token("a1"), Unreachable);
    passed(30);
    await assert.rejects(tokens.token(), Unreachable);
    assert.equal(tokens.state.isSignedIn, true);
    server.behave(() => ({ status: 503, body: { error: "unavailable", message: "Later." } }));
    await assert.rejects(tokens.token(), { name: "Unavailable", code: "unavailable" });
    server.behave(null);
    assert.equal(await tokens.token(), "a2");
  });

  it("keeps no token outside memory by itself, and the refresh token alone where it is told to", async () => {
    const kept = new Map();
    const storage = { getItem: (n) => kept.get(n) ?? null, setItem: (n, v) => kept.set(n, v), removeItem: (n) => kept.delete(n) };
    await signedIn({ pending: storage });
    assert.deepEqual([...kept.values()], []);
    await signedIn({ store: storage });
    assert.deepEqual([...kept.values()], ["r2"]);
    const reloaded = origin()({ store: storage });
    assert.equal(await reloaded.restore(), true);
    assert.deepEqual([...kept.values()], ["r3"]);
  });
});
