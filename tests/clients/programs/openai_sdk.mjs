// OpenAI's SDK for JavaScript: chat completions, responses, tools, embeddings, models, errors.
import OpenAI from "openai";
import { ANSWER, CITY, KEY, MODEL, QUESTION, SUNNY, TOOL_ANSWER, TOOL_QUESTION, URL, assert } from "./asked.mjs";

const client = new OpenAI({ baseURL: `${URL}/v1`, apiKey: KEY, maxRetries: 0 });
const messages = [{ role: "user", content: QUESTION }];

const whole = await client.chat.completions.create({ model: MODEL, messages });
assert.equal(whole.choices[0].message.content, ANSWER);
assert.equal(whole.usage.completion_tokens, 22);
let text = "";
for await (const piece of await client.chat.completions.create({ model: MODEL, messages, stream: true })) {
  text += piece.choices[0]?.delta.content ?? "";
}
assert.equal(text, ANSWER);

const called = [];
const runner = client.chat.completions.runTools({
  model: MODEL,
  messages: [{ role: "user", content: TOOL_QUESTION }],
  stream: true,
  tools: [
    {
      type: "function",
      function: { name: "get_weather", parameters: CITY, parse: JSON.parse, function: (given) => (called.push(given), SUNNY) },
    },
  ],
});
assert.equal(await runner.finalContent(), TOOL_ANSWER);
assert.deepEqual(called, [{ city: "demo" }]);

assert.equal((await client.responses.create({ model: MODEL, input: QUESTION })).output_text, ANSWER);
const kinds = [];
for await (const event of await client.responses.create({ model: MODEL, input: QUESTION, stream: true })) kinds.push(event.type);
assert.equal(kinds.at(0), "response.created");
assert.equal(kinds.at(-1), "response.completed");

assert.equal((await client.embeddings.create({ model: "demo-embedding", input: "a" })).data[0].embedding.length, 8);
assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
await assert.rejects(client.chat.completions.create({ model: "nothing", messages }), { status: 404, code: "model_not_found" });
