/** The relay in Next's App Router: sign-in with http-only cookies, and clients that act for the user. Server code alone. */
export { type Cookies, RelayApp, type RelayAppOptions, type Renewals } from "./app.js";
export { createRelayHandlers } from "./handlers.js";
export { getOpenAIOptions, getRelay, getRelayToken, getUser, type PageOptions } from "./server.js";
