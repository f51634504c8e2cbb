// The components in a document, strict mode on, against a relay on a port.
import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import { Window } from "happy-dom";
import { serving } from "../../core/test/double.mjs";

const window = new Window({ url: "https://app.example/chat" });
const globals = {
  window, document: window.document, location: window.location, history: window.history,
  sessionStorage: window.sessionStorage, HTMLElement: window.HTMLElement, navigator: window.navigator, IS_REACT_ACT_ENVIRONMENT: true,
};
for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { value, configurable: true });
const { act, createElement: h, StrictMode } = await import("react");
const { createRoot } = await import("react-dom/client");
const { BalanceBadge, InsufficientCredits, RelayProvider, SignInButton, useRelay, useRelayChat } = await import("../dist/index.js");
const { useRelayOpenAI } = await import("../dist/openai.js");

let server, root, chat, relay, openai, behaviour, went;
const channel = () => ({ postMessage: () => undefined, onmessage: null, close: () => undefined });
const find = (selector) => window.document.querySelector(selector);
const events = (...texts) => ({
  headers: { "content-type": "text/event-stream" },
  body: [...texts.map((content) => JSON.stringify({ choices: [{ delta: { content } }] })), "[DONE]"].map((d) => `data: ${d}\n\n`).join(""),
});
const noCredits = {
  status: 402,
  body: { error: { code: "insufficient_credits", message: "Too few.", details: { available_microcredits: 1500, top_up_url: "https://pay.example/" } } },
};

function answer({ url, headers }) {
  if (url.startsWith("/oauth/token")) return behaviour.token ?? { body: { access_token: "a1", refresh_token: "r1", expires_in: 600 } };
  if (url.startsWith("/oauth/userinfo")) {
    assert.equal(headers.authorization, "Bearer a1");
    return { body: { sub: "7", preferred_username: "ada", balance: { mode: "live", microcredits: 2_500_000 } } };
  }
  return url.startsWith("/v1/") ? behaviour.chat : { body: {} };
}

function Page() {
  chat = useRelayChat({ model: "m", maxTokens: 9 });
  relay = useRelay();
  openai = useRelayOpenAI();
  return h("main", null, h(SignInButton, { className: "in" }), h(BalanceBadge, { className: "left" }),
    h(InsufficientCredits, { error: chat.error, onClose: () => undefined }));
}

async function show(address = "https://app.example/chat") {
  window.happyDOM.setURL(address);
  root = createRoot(window.document.body.appendChild(window.document.createElement("div")));
  const props = { url: server.url, controlUrl: server.url, clientId: "app_1", redirectUri: "https://app.example/chat", channel: channel() };
  await act(async () => root.render(h(StrictMode, null, h(RelayProvider, props, h(Page)))));
  await until(() => relay.status !== "loading");
}

async function until(condition) {
  for (let turn = 0; !condition(); turn++) {
    assert.ok(turn < 500, `${relay?.status} ${relay?.error} ${chat?.status} ${chat?.error}`);
    await act(() => new Promise((resolve) => setTimeout(resolve, 5)));
  }
}

async function signedIn() {
  await show();
  await act(async () => find(".in").click());
  await until(() => went);
  const state = new URL(went).searchParams.get("state");
  await act(async () => root.unmount());
  await show(`https://app.example/chat?code=c&state=${state}&iss=${encodeURIComponent(server.url)}`);
  await until(() => relay.user);
}

beforeEach(async () => {
  behaviour = { chat: events("Hel", "lo") };
  went = null;
  window.location.assign = (address) => (went = String(address));
  server = await serving(answer);
});
afterEach(async () => {
  await act(async () => root.unmount());
  window.document.body.replaceChildren();
  server.close();
});

it("signs in on the way back, once, and takes the code out of the address", async () => {
  await signedIn();
  assert.deepEqual([relay.status, relay.user.name, relay.error], ["signed-in", "ada", null]);
  assert.equal(window.location.href, "https://app.example/chat");
  assert.equal(server.calls.filter(({ url }) => url === "/oauth/token").length, 1);
  assert.equal(find(".in").textContent, "Sign out");
  assert.equal(find(".left").textContent, "2.5 credits Top up");
  assert.equal(find(".left a").getAttribute("href"), `${server.url}/portal/wallet`);
});

it("says why a sign-in failed", async () => {
  await show(`https://app.example/chat?code=c&state=lost&iss=${encodeURIComponent(server.url)}`);
  assert.deepEqual([relay.status, relay.error.code], ["signed-out", "lost_state"]);
  assert.equal(find(".in").textContent, "Sign in");
});

it("streams an answer, and reads the balance anew", async () => {
  await signedIn();
  const asked = server.calls.filter(({ url }) => url === "/oauth/userinfo").length;
  await act(() => chat.send("Hi"));
  assert.deepEqual(chat.messages, [{ role: "user", content: "Hi" }, { role: "assistant", content: "Hello" }]);
  assert.equal(chat.status, "ready");
  const sent = JSON.parse(server.calls.find(({ url }) => url === "/v1/chat/completions").body);
  assert.deepEqual(sent, { model: "m", messages: [{ role: "user", content: "Hi" }], stream: true, max_tokens: 9 });
  assert.equal(server.calls.filter(({ url }) => url === "/oauth/userinfo").length, asked + 1);
});

it("shows a dialog that says where to top up, and asks again", async () => {
  await signedIn();
  behaviour.chat = noCredits;
  await act(() => chat.send("Hi"));
  assert.deepEqual([chat.status, chat.error.name], ["error", "InsufficientCredits"]);
  const dialog = find("dialog");
  assert.equal(dialog.open, true);
  assert.equal(window.document.getElementById(dialog.getAttribute("aria-labelledby")).textContent, "Not enough credits");
  assert.equal(dialog.querySelector("a").getAttribute("href"), "https://pay.example/");
  assert.match(dialog.textContent, /Too few\.0\.001 credits are left/);
  await act(async () => chat.dismiss());
  assert.deepEqual([chat.status, chat.error, chat.messages.length, find("dialog")], ["ready", null, 1, null]);
  behaviour.chat = events("Yes");
  await act(() => chat.retry());
  assert.deepEqual(chat.messages.map(({ content }) => content), ["Hi", "Yes"]);
  assert.equal(find("dialog"), null);
});

it("keeps what came of an answer that was stopped, and says of one that broke", async () => {
  await signedIn();
  behaviour.chat = new Promise(() => undefined);
  let done;
  await act(async () => void (done = chat.send("Hi")));
  await until(() => chat.status === "streaming");
  await act(() => (chat.stop(), done));
  assert.deepEqual([chat.status, chat.error, chat.messages.length], ["ready", null, 1]);
  behaviour.chat = { ...events("Half"), body: 'data: {"choices":[{"delta":{"content":"Half"}}]}\n\n' };
  await act(() => chat.send("Again"));
  assert.deepEqual([chat.error.name, chat.messages.at(-1).content], ["Unreachable", "Half"]);
});

it("says that a sign-in was ended elsewhere", async () => {
  await signedIn();
  behaviour.chat = { status: 401, body: { error: { code: "token_revoked", message: "Revoked." } } };
  behaviour.token = { status: 400, body: { error: "invalid_grant" } };
  await act(() => chat.send("Hi"));
  assert.deepEqual([relay.status, relay.error.code, relay.user], ["signed-out", "invalid_grant", null]);
  assert.deepEqual([chat.error.code, chat.error.message], ["invalid_grant", "The sign-in was refused or has ended."]);
});

it("gives OpenAI's own client", async () => {
  await signedIn();
  behaviour.chat = { body: { data: [{ id: "m" }] } };
  assert.deepEqual((await openai.models.list()).data, [{ id: "m" }]);
});
