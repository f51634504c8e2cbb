// The official MCP SDK as an agent: sets up an endpoint with three targets, sends a call, finds the failed delivery and
// replays it. Reads CONTROL_URL, EDGE_URL, TOKEN, TARGETS (where they listen) and PROJECT; writes a line when the broken
// target is to be mended, and reads one when it is.
import assert from "node:assert/strict";
import { createInterface } from "node:readline/promises";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const { CONTROL_URL, EDGE_URL, TOKEN, TARGETS, PROJECT } = process.env;
const agent = new Client({ name: "agent", version: "1" });
await agent.connect(
  new StreamableHTTPClientTransport(new URL(`${CONTROL_URL}/mcp`), {
    requestInit: { headers: { Authorization: `Bearer ${TOKEN}` } },
  }),
);
const { tools } = await agent.listTools(); // from now on the SDK checks each answer by its tool's schema
assert.ok(tools.find((tool) => tool.name === "replay_deliveries"));

async function use(name, given = {}) {
  const result = await agent.callTool({ name, arguments: given });
  assert.ok(!result.isError, `${name}: ${JSON.stringify(result.content)}`);
  return result.structuredContent;
}

async function until(ask, what) {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; ) {
    const found = await ask();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`still waiting for ${what}`);
}

const document = `version: 1\nprojects:\n  - slug: ${PROJECT}\n    name: ${PROJECT}\n    lines: [{slug: v1}]\n`;
const { plan } = await use("plan_catalog", { document });
await use("apply_catalog", { document, plan });
const line = { project: PROJECT, line: "v1" };
const begun = await use("read_draft", line);
begun.document.endpoints = [
  {
    slug: "orders",
    targets: ["first", "second", "broken"].map((name) => ({
      name,
      url: `${TARGETS}/${PROJECT}/${name}`,
      retry_schedule_seconds: [1],
    })),
  },
];
const saved = await use("save_draft", { ...line, document: begun.document, draftRevision: begun.draftRevision });
assert.equal((await use("diff_draft", line)).changes.length, 4);
await use("publish_draft", { ...line, draftRevision: saved.draftRevision });
const key = await use("mint_relay_key", { project: PROJECT, name: "app", scopes: ["relay"] });
const [endpoint] = (await use("list_endpoints", line)).results;
assert.equal(endpoint.targets.length, 3);

const accepted = await until(async () => {
  const answer = await fetch(EDGE_URL + endpoint.path, {
    method: "POST",
    headers: { Authorization: `Bearer ${key.token}`, "Content-Type": "application/json" },
    body: '{"order":1}',
  });
  return answer.status === 202 ? answer.json() : null; // 401 and 404 until the edge has heard of it
}, "the endpoint");
const [dead] = await until(async () => {
  const { results } = await use("list_deliveries", { request: accepted.requestId, state: "dead" });
  return results.length ? results : null;
}, "the failure queue");
assert.equal(dead.target.name, "broken");
const { attempts } = await use("read_delivery", { delivery: dead.id });
assert.deepEqual(attempts.map((attempt) => attempt.status), [500, 500]);

console.log("mend the target");
const terminal = createInterface({ input: process.stdin });
await terminal.question("");
terminal.close();
assert.equal((await use("preview_replay", { ids: [dead.id] })).replayableCount, 1);
assert.equal((await use("replay_deliveries", { ids: [dead.id] })).replayedCount, 1);
await until(async () => (await use("read_delivery", { delivery: dead.id })).state === "delivered", "the replay");

const refused = await agent.callTool({ name: "read_draft", arguments: { project: PROJECT, line: "v9" } });
assert.ok(refused.isError);
assert.equal(JSON.parse(refused.content[0].text).tool, "list_lines");
await agent.close();
