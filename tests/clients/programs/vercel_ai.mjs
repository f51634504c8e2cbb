// Vercel's AI SDK: each of its providers with the relay as base; text, streams, tools, objects.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { ANSWER, KEY, MODEL, QUESTION, SUNNY, TOOL_ANSWER, TOOL_QUESTION, URL, assert } from "./asked.mjs";

const openai = createOpenAI({ baseURL: `${URL}/v1`, apiKey: KEY });
const models = [
  openai.chat(MODEL),
  openai.responses(MODEL),
  createOpenAICompatible({ name: "relay", baseURL: `${URL}/v1`, apiKey: KEY, supportsStructuredOutputs: true })(MODEL),
  createAnthropic({ baseURL: `${URL}/v1`, apiKey: KEY })(MODEL),
];
for (const model of models) {
  const common = { model, maxRetries: 0, maxOutputTokens: 100 };
  assert.equal((await generateText({ ...common, prompt: QUESTION })).text, ANSWER, model.provider);
  let text = "";
  for await (const piece of streamText({ ...common, prompt: QUESTION }).textStream) text += piece;
  assert.equal(text, ANSWER, model.provider);
  const cities = [];
  const tools = {
    get_weather: tool({
      inputSchema: z.object({ city: z.string() }),
      execute: ({ city }) => (cities.push(city), SUNNY),
    }),
  };
  const told = await generateText({ ...common, prompt: TOOL_QUESTION, tools, stopWhen: stepCountIs(3) });
  assert.equal(told.text, TOOL_ANSWER, model.provider);
  assert.deepEqual(cities, ["demo"], model.provider);
  const typed = await generateText({
    ...common,
    prompt: QUESTION,
    output: Output.object({ schema: z.object({ name: z.string(), population: z.number() }) }),
  });
  assert.deepEqual(typed.output, { name: "demo", population: 1.5 }, model.provider);
}
