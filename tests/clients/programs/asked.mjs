// What every JavaScript program asks, so that each holds only what its client is about.
import assert from "node:assert/strict";

export const URL = process.env.RELAY_URL;
export const KEY = process.env.RELAY_KEY;
export const MODEL = process.env.MODEL;
export const QUESTION = "Where is the relay?";
export const ANSWER = 'This is the demo vendor; no model is behind it. You wrote: "Where is the relay?"';
export const TOOL_QUESTION = "What does get_weather say?";
export const SUNNY = "sunny";
export const TOOL_ANSWER = 'The tool answered: "sunny"';
export const CITY = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
export { assert };
