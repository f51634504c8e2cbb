/** OpenAI's own client, pointed at the relay. Its package is an optional peer: `npm install openai`. */
import { openaiOptions } from "@relay-sdk/core";
import OpenAI, { type ClientOptions } from "openai";
import { useMemo } from "react";
import { useRelay } from "./context.js";

/** The same client on each render. `options` are its own, read once. */
export function useRelayOpenAI(options: ClientOptions = {}): OpenAI {
  const { relay } = useRelay();
  return useMemo(() => new OpenAI({ ...openaiOptions(relay), ...options }), [relay]);
}
