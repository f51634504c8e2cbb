// Anthropic's SDK for JavaScript: messages, tools, token counts, models, errors.
import Anthropic from "@anthropic-ai/sdk";
import { ANSWER, CITY, KEY, MODEL, QUESTION, SUNNY, TOOL_ANSWER, TOOL_QUESTION, URL, assert } from "./asked.mjs";

const client = new Anthropic({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const messages = [{ role: "user", content: QUESTION }];
const common = { model: MODEL, max_tokens: 100 };

const whole = await client.messages.create({ ...common, messages });
assert.equal(whole.content[0].text, ANSWER);
assert.equal(whole.stop_reason, "end_turn");
const stream = client.messages.stream({ ...common, messages });
assert.equal(await stream.finalText(), ANSWER);

const tools = [{ name: "get_weather", input_schema: CITY }];
const talk = [{ role: "user", content: TOOL_QUESTION }];
const asked = await client.messages.stream({ ...common, messages: talk, tools }).finalMessage();
const call = asked.content.find((block) => block.type === "tool_use");
assert.deepEqual(call.input, { city: "demo" });
talk.push({ role: "assistant", content: asked.content });
talk.push({ role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: SUNNY }] });
assert.equal((await client.messages.create({ ...common, messages: talk, tools })).content[0].text, TOOL_ANSWER);

const counted = await client.messages.countTokens({ model: MODEL, messages });
assert.ok(counted.input_tokens > 0 && counted.input_tokens < 31, String(counted.input_tokens));
assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
await assert.rejects(client.messages.create({ ...common, model: "nothing", messages }), { status: 404 });
