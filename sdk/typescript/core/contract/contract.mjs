// The package against a running relay, as its user would write it. tests/sdk/test_typescript.py runs it, presses the
// consent page's button for it, and signs a delivery with the Python client.
import assert from "node:assert/strict";
import { createInterface } from "node:readline/promises";
import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { streamText } from "ai";
import OpenAI from "openai";
import {
  anthropicOptions, ApiKeyTokens, OAuthTokens, openaiOptions, Relay, relayErrorOf, signWebhook, verifyWebhook,
} from "../dist/index.js";

const { RELAY_URL: url, RELAY_CONTROL_URL: controlUrl, RELAY_KEY, CLIENT_ID, REDIRECT, SECRET, SIGNED } = process.env;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const messages = [{ role: "user", content: "count the words of this question" }];
const relay = new Relay({ url, controlUrl, tokens: new ApiKeyTokens(RELAY_KEY) });

// Endpoints: queued once under a key, sync, streamed, refused.
const queued = await relay.send("demo", "v1", "events", { hello: "relay" }, { idempotencyKey: `ts-${Date.now()}` });
assert.equal(queued.isQueued, true);
const key = { idempotencyKey: `again-${Date.now()}` };
const [first, again] = [await relay.send("demo", "v1", "events", { n: 1 }, key), await relay.send("demo", "v1", "events", { n: 1 }, key)];
assert.deepEqual([first.isRepeated, again.isRepeated, again.json()], [false, true, first.json()]);
const answered = await relay.send("demo", "v1", "lookup", { customer: 42 });
assert.deepEqual([answered.isQueued, answered.status, answered.target !== ""], [false, 200, true]);
const events = [];
const stream = await relay.stream("demo", "v1", "stream", {}, { params: { events: 2 } });
for await (const event of stream) events.push(event.event);
assert.deepEqual([events.at(-1), stream.headers.get("x-relay-target")], ["done", "ticks"]);
for await (const piece of (await relay.stream("demo", "v1", "stream", {})).bytes()) {
  assert.ok(piece.length);
  break; // ends the call
}
await assert.rejects(relay.send("demo", "v1", "no-such", {}), { name: "InvalidCall", code: "endpoint_not_found" });
const stranger = new Relay({ url, tokens: new ApiKeyTokens(`rk_live_${"x".repeat(50)}`) });
await assert.rejects(stranger.send("demo", "v1", "events", {}), { name: "Unauthenticated", code: "invalid_key" });

// Models, by the vendors' own clients.
assert.ok((await relay.models()).includes("demo-gpt"));
const openai = new OpenAI({ ...openaiOptions(relay), maxRetries: 0 });
const plain = await openai.chat.completions.create({ model: "demo-gpt", messages });
assert.match(plain.choices[0].message.content, /count the words/);
let streamed = "";
for await (const chunk of await openai.chat.completions.create({ model: "demo-gpt", messages, stream: true })) {
  streamed += chunk.choices[0]?.delta.content ?? "";
}
assert.equal(streamed, plain.choices[0].message.content);
const anthropic = new Anthropic({ ...anthropicOptions(relay), maxRetries: 0 });
const said = await anthropic.messages.create({ model: "demo-claude", max_tokens: 200, messages });
assert.match(said.content[0].text, /count the words/);
const { textStream } = streamText({ model: createOpenAI(openaiOptions(relay)).chat("demo-gpt"), messages });
let piecewise = "";
for await (const text of textStream) piecewise += text;
assert.equal(piecewise, plain.choices[0].message.content);
await assert.rejects(openai.chat.completions.create({ model: "no-such", messages }), (thrown) => {
  assert.ok(thrown instanceof OpenAI.NotFoundError);
  const error = relayErrorOf(thrown);
  assert.deepEqual([error.name, error.code], ["InvalidCall", "model_not_found"]);
  assert.ok(error.requestId);
  return true;
});

// A user: signs in, reads, calls, cannot pay, renews, signs out.
const tokens = new OAuthTokens({ issuer: controlUrl, clientId: CLIENT_ID, redirectUri: REDIRECT });
console.log(await tokens.signInUrl({ returnTo: "/chat" }));
const back = (await lines.next()).value;
assert.equal(OAuthTokens.isWayBack(back), true);
assert.equal(await tokens.finishSignIn(back), "/chat");
const mine = new Relay({ url, controlUrl, tokens });
const user = await mine.user();
assert.ok(user.name);
const wallet = await mine.balance({ mode: user.mode });
assert.deepEqual([wallet.mode, wallet.available], [user.mode, user.availableMicrocredits]);
assert.ok(Array.isArray(await mine.usage()));
assert.equal((await fetch(mine.topUpUrl())).status, 200);
const users = new OpenAI({ ...openaiOptions(mine), maxRetries: 0 });
await assert.rejects(beyond(503, () => users.chat.completions.create({ model: "demo-gpt", messages })), (thrown) => {
  const error = relayErrorOf(thrown);
  assert.deepEqual([error.name, error.status, error.availableMicrocredits], ["InsufficientCredits", 402, 0]);
  return true;
});
console.log("top up");
await lines.next();
const paid = await beyond(402, () => users.chat.completions.create({ model: "demo-gpt", messages }));
assert.match(paid.choices[0].message.content, /count/);
const before = await tokens.token();
assert.notEqual(await tokens.token(before), before);
assert.ok((await mine.models()).includes("demo-gpt"));
await tokens.signOut();
await assert.rejects(mine.models(), { name: "SignInFailed", code: "signed_out" });
await assert.rejects(new Relay({ url, tokens: new ApiKeyTokens(before) }).models(), { name: "Unauthenticated" });

// Webhooks: one that Python signed, and one for Python.
const { body, headers } = JSON.parse(SIGNED);
assert.equal((await verifyWebhook(body, headers, SECRET)).id, "from-python");
console.log(JSON.stringify(await signWebhook(body, { webhookId: "from-node", secret: SECRET })));
process.exit(0);

/** What a call comes to once it is not answered so any more: edges hear of money within seconds. */
async function beyond(status, call) {
  for (const end = Date.now() + 20_000; ; ) {
    try {
      return await call();
    } catch (error) {
      if (error.status !== status || Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}
