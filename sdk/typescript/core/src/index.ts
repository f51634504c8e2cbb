/** The relay from TypeScript: `Relay`, tokens, `createRelayFetch`, `verifyWebhook`, and errors that say what clears them. */
export { actionOf } from "./actions.js";
export { Answer, type Body, type CallOptions, type Json, type Parameters, type SendOptions, type StreamOptions } from "./calls.js";
export {
  ApiError, BudgetExceeded, errorOf, Forbidden, InsufficientCredits, InvalidCall, PaymentRequired, RateLimited, RelayError,
  relayErrorOf, SignInFailed, Unauthenticated, Unavailable, Unreachable, UpstreamFailed, WebhookError,
} from "./errors.js";
export { anthropicOptions, createRelayFetch, openaiOptions } from "./fetch.js";
export { Application, type ApplicationOptions, type Asked, type RelayUser, type Tokens } from "./oauth.js";
export { OAuthTokens, type OAuthTokensOptions, type SignInState } from "./oauth_tokens.js";
export { Relay, type RelayOptions, type Wallet } from "./relay.js";
export { type Retries } from "./retries.js";
export { type Kept } from "./stores.js";
export { eventsOf, RelayStream, type ServerSentEvent } from "./streams.js";
export { ApiKeyTokens, type TokenProvider } from "./tokens.js";
export { signWebhook, TOLERANCE_SECONDS, verifyWebhook, type Webhook } from "./webhooks.js";
