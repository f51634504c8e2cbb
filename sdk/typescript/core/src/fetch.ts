/** A `fetch` for the SDKs that people already use: it signs, and leaves answers and errors to them. */
import type { Relay } from "./relay.js";

const PLACEHOLDER = "put-there-by-relay-sdk"; // replaced on each call

/**
 * For `new OpenAI({ fetch })`, `new Anthropic({ fetch })`, providers of Vercel's `ai`: the bearer is put on each call, and
 * a refused one is renewed once. Calls to another origin than the relay's own are a RangeError: no bearer leaves for
 * there.
 */
export function createRelayFetch(relay: Relay): typeof fetch {
  return (input, init) => relay.fetch(input, init);
}

/** What OpenAI's own client, and `createOpenAI` of `@ai-sdk/openai`, are made with. */
export function openaiOptions(relay: Relay) {
  return {
    baseURL: `${relay.url}/v1`,
    apiKey: PLACEHOLDER,
    fetch: createRelayFetch(relay),
    dangerouslyAllowBrowser: true, // no key is in the page: the token is the user's own, for ten minutes
  };
}

/** What Anthropic's own client is made with. */
export function anthropicOptions(relay: Relay) {
  return {
    baseURL: relay.url,
    authToken: PLACEHOLDER,
    apiKey: null,
    fetch: createRelayFetch(relay),
    dangerouslyAllowBrowser: true,
  };
}
