/** The relay in React: sign-in, chat, balance. `useRelayOpenAI` is in `@relay-sdk/react/openai`. */
export { type Chat, type ChatMessage, type ChatOptions, isOutOfCredits, useRelayChat } from "./chat.js";
export { BalanceBadge, InsufficientCredits, type InsufficientCreditsProps, SignInButton } from "./components.js";
export { RelayProvider, type RelayProviderProps, type RelayState, useRelay } from "./context.js";
