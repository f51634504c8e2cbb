// Calls against a relay on a port: what is repeated, what is thrown, where the bearer goes.
import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { ApiKeyTokens, createRelayFetch, openaiOptions, Relay, relayErrorOf, Unreachable } from "../dist/index.js";
import OpenAI from "openai";
import { serving } from "./double.mjs";

let server;
afterEach(() => server?.close());

async function relayOf(answer, tokens = new ApiKeyTokens("rk_1")) {
  server = await serving(answer);
  return new Relay({ url: server.url, controlUrl: server.url, tokens, retries: { firstWaitSeconds: 0.001 } });
}

const refusal = (status, error, more = {}, headers = {}) => ({
  status, headers: { "x-relay-error-source": "relay", ...headers }, body: { error, message: "No.", requestId: "q1", ...more },
});
const accepted = { status: 202, headers: { "x-request-id": "q1" }, body: { requestId: "q1" } };

describe("what is tried again", () => {
  for (const [what, first, options, calls] of [
    ["a rate limit", refusal(429, "rate_limited", {}, { "retry-after": "0" }), {}, 2],
    ["shutting down", refusal(503, "shutting_down"), {}, 2],
    ["unavailable, without a key", refusal(503, "accept_unavailable"), {}, 1],
    ["unavailable, with a key", refusal(503, "accept_unavailable"), { idempotencyKey: "k1" }, 2],
    ["a broken connection, without a key", null, {}, 1],
    ["a broken connection, with a key", null, { idempotencyKey: "k1" }, 2],
    ["an hour's wait", refusal(429, "rate_limited", {}, { "retry-after": "3600" }), {}, 1],
    ["a refusal", refusal(400, "bad_request"), { idempotencyKey: "k1" }, 1],
  ]) {
    it(`${what}: ${calls} calls`, async () => {
      const relay = await relayOf((_call, number) => (number === 1 ? first : accepted));
      const sent = relay.send("demo", "v1", "hook", { a: 1 }, options);
      if (calls === 2) assert.equal((await sent).isQueued, true);
      else await assert.rejects(sent, first === null ? Unreachable : { code: first.body.error });
      assert.equal(server.calls.length, calls);
      assert.ok(server.calls.every((call) => call.body === '{"a":1}' && call.url === "/r/demo/v1/hook"));
    });
  }
});

describe("errors", () => {
  it("402 says where to top up; the server's figures are there", async () => {
    const details = { wallet: 7, available_microcredits: 5, top_up_url: "https://pay.example/" };
    const relay = await relayOf(() => refusal(402, "insufficient_credits", { details }));
    await assert.rejects(relay.send("demo", "v1", "hook", {}), (error) => {
      assert.deepEqual(
        [error.name, error.topUpUrl, error.availableMicrocredits, error.action, error.requestId, error.source],
        ["InsufficientCredits", "https://pay.example/", 5, "Top the wallet up, then call again.", "q1", "relay"],
      );
      return true;
    });
  });

  it("a link that is no web address is not given out", async () => {
    const relay = await relayOf(() => refusal(402, "insufficient_credits", { details: { top_up_url: "javascript:1" } }));
    await assert.rejects(relay.send("demo", "v1", "hook", {}), { topUpUrl: null });
  });

  it("a budget says whose it is and when it begins anew", async () => {
    const relay = await relayOf(() => refusal(402, "budget_exceeded", { details: { scope: "grant", reset_at: 86400 } }));
    await assert.rejects(relay.models(), { name: "BudgetExceeded", scope: "grant", resetsAt: new Date(86_400_000) });
  });

  it("what a target answers is no error of the relay's", async () => {
    const relay = await relayOf(() => ({ status: 418, headers: { "x-relay-target": "pot" }, body: { error: "tea" } }));
    const answer = await relay.send("demo", "v1", "sync", {});
    assert.deepEqual([answer.status, answer.target, answer.isQueued, answer.json()], [418, "pot", false, { error: "tea" }]);
  });

  it("what OpenAI's client throws is found again", async () => {
    const said = { error: { code: "insufficient_credits", message: "No.", details: { available_microcredits: 5 } } };
    const relay = await relayOf(() => ({ status: 402, headers: { "x-request-id": "q9" }, body: said }));
    const client = new OpenAI({ ...openaiOptions(relay), maxRetries: 0 });
    await assert.rejects(client.models.list(), (thrown) => {
      const error = relayErrorOf(thrown);
      assert.deepEqual([error.name, error.requestId, error.availableMicrocredits], ["InsufficientCredits", "q9", 5]);
      return true;
    });
    const other = new Error("own");
    assert.equal(relayErrorOf(other), other);
  });

  it("an abort is the caller's own, a timeout is Unreachable", async () => {
    const relay = await relayOf(() => new Promise(() => undefined));
    await assert.rejects(relay.models({ signal: AbortSignal.abort() }), { name: "AbortError" });
    const hasty = new Relay({ url: server.url, tokens: new ApiKeyTokens("k"), timeoutSeconds: 0.05, retries: { most: 0 } });
    await assert.rejects(hasty.models(), { name: "Unreachable", wasSent: true });
  });

  it("a connection that could not be made was not sent", async () => {
    const relay = await relayOf(() => accepted);
    server.close();
    await assert.rejects(relay.send("demo", "v1", "hook", {}), { name: "Unreachable", wasSent: false });
  });

  it("names and addresses are checked", async () => {
    const tokens = new ApiKeyTokens("k");
    assert.throws(() => new Relay({ url: "ftp://x", tokens }), TypeError);
    const relay = new Relay({ url: "https://x", tokens });
    await assert.rejects(async () => relay.send("..", "v1", "x", {}), TypeError);
    await assert.rejects(relay.balance(), TypeError);
  });
});

describe("a balance", () => {
  const wallet = { id: 3, mode: "live", balance: 9, held: 2, available: 7 };
  const asked = async (key, answer, options) => {
    const server = await serving(() => ({ body: answer }));
    try {
      const relay = new Relay({ url: server.url, controlUrl: server.url, tokens: new ApiKeyTokens(key) });
      return [await relay.balance(options), server.calls[0].url];
    } finally {
      server.close();
    }
  };

  it("of a relay key is the key's own to ask for", async () => {
    assert.deepEqual(await asked("rk_live_x", { wallet }), [wallet, "/api/v1/relay-keys/self"]);
    assert.deepEqual(await asked("rk_live_x", { wallet: null }), [null, "/api/v1/relay-keys/self"]);
  });

  it("of a user or a project is in the list of wallets", async () => {
    assert.deepEqual(await asked("jwt", { results: [wallet] }), [wallet, "/api/v1/wallets?mode=live&limit=1"]);
    const [none, url] = await asked("rk_live_x", { results: [] }, { project: "shop", mode: "test" });
    assert.deepEqual([none, url], [null, "/api/v1/wallets?project=shop&mode=test&limit=1"]);
  });
});

describe("the bearer", () => {
  const provider = () => {
    const asked = [];
    return { asked, token: (refused) => (asked.push(refused), refused ? "new" : "old") };
  };

  it("is renewed once when it is refused, and other credentials go", async () => {
    const tokens = provider();
    const relay = await relayOf(({ headers }) => ({ status: headers.authorization === "Bearer new" ? 200 : 401 }), tokens);
    const call = createRelayFetch(relay);
    const request = new Request(`${server.url}/v1/x`, { method: "POST", body: "b", headers: { "x-api-key": "k" } });
    assert.equal((await call(request)).status, 200);
    assert.deepEqual(tokens.asked, [undefined, "old"]);
    assert.deepEqual(server.calls.map((one) => one.body), ["b", "b"]);
    assert.ok(server.calls.every((one) => one.headers["x-api-key"] === undefined));
  });

  it("is renewed no second time, nor for a body that cannot be sent again", async () => {
    const tokens = provider();
    const relay = await relayOf(() => ({ status: 401 }), tokens);
    assert.equal((await createRelayFetch(relay)(`${server.url}/v1/x`)).status, 401);
    assert.equal(server.calls.length, 2);
    const body = new Blob(["b"]).stream();
    const answer = await createRelayFetch(relay)(`${server.url}/v1/x`, { method: "POST", body, duplex: "half" });
    assert.deepEqual([answer.status, server.calls.length], [401, 3]);
  });

  it("goes to the relay alone, and follows no redirect", async () => {
    const tokens = provider();
    const relay = await relayOf(() => ({ status: 302, headers: { location: "/elsewhere" } }), tokens);
    const call = createRelayFetch(relay);
    for (const url of ["https://evil.example/", `${server.url.replace("127.0.0.1", "127.0.0.1.evil.example")}/`, server.url.replace("127.0.0.1", "localhost")]) {
      await assert.rejects(call(url), RangeError);
    }
    assert.deepEqual(tokens.asked, []);
    assert.equal((await call(`${server.url}/v1/x`)).status, 302);
    assert.equal(server.calls.length, 1);
  });
});

describe("streams", () => {
  const stream = (body) => relayOf(() => ({ headers: { "content-type": "text/event-stream", "x-relay-target": "t" }, body }));
  const read = async (relay) => {
    const found = [];
    for await (const one of await relay.stream("demo", "v1", "s", {})) found.push([one.event, one.data, one.id]);
    return found;
  };

  it("are read as the standard has it", async () => {
    const relay = await stream(": hi\r\n\r\nid: 7\rdata: a\r\rdata:b\ndata:  c\n\nevent: x\ndata\n\ndata: half");
    assert.deepEqual(await read(relay), [["message", "a", "7"], ["message", "b\n c", "7"], ["x", "", "7"]]);
  });

  it("that the relay ends early throw its error", async () => {
    const relay = await stream('data: 1\n\nevent: error\ndata: {"error":"target_failed","message":"Gone."}\n\n');
    await assert.rejects(read(relay), { name: "UpstreamFailed", code: "target_failed", message: "Gone." });
  });

  it("that are refused throw before anything is read", async () => {
    const relay = await relayOf(() => refusal(404, "endpoint_not_found"));
    await assert.rejects(relay.stream("demo", "v1", "no", {}), { name: "InvalidCall", code: "endpoint_not_found" });
  });
});

it("usage is read page by page", async () => {
  const relay = await relayOf(({ url }) => ({ body: url.includes("after=2") ? { results: [3] } : { results: [1], next: 2 } }));
  assert.deepEqual(await relay.usage({ by: "app" }), [1, 3]);
});
