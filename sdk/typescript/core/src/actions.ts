/**
 * What clears an error, by the server's code: for programs that show an action beside a message. Rows of the Python
 * client's table, which is held against the relay's own error tree; codes whose own text says it all are left out, since
 * pages have to load this.
 */
const ACTIONS: Record<string, string> = {
  invalid_key: "Check that the key was copied whole, or mint a new one.",
  invalid_token: "Let the user sign in again.",
  token_expired: "Refresh the token, or let the user sign in again.",
  token_revoked: "Let the user allow the application again.",
  key_revoked: "Ask the project's owner for a new key.",
  key_expired: "Ask the project's owner for a new key.",
  insufficient_credits: "Top the wallet up, then call again.",
  budget_exceeded: "Wait until the period ends, or have the budget raised.",
  model_forbidden: "Use a model that `models()` lists.",
  model_unpriced: "Use another model, or ask an operator to price this one.",
  origin_not_allowed: "Ask the application's owner to add the page's origin.",
  endpoint_not_found: "Check project, line and endpoint.",
  model_not_found: "Use a model that `models()` lists.",
  idempotency_in_progress: "Try again after the time in Retry-After.",
  idempotency_key_reused: "Send a new key with each new call.",
  rate_limited: "Try again after the time in Retry-After.",
  target_failed: "Look the call up by its request id; the target may have done it.",
  sync_timeout: "Look the call up by its request id: the target may still do it.",
  internal_error: "Tell an operator the request id.",
  unavailable: "Try again after the time in Retry-After.",
  accept_unavailable: "Send it again with the same Idempotency-Key.",
  shutting_down: "Try again at once.",
};

/** A sentence; empty for a code that is not the relay's own. */
export function actionOf(code: string): string {
  return Object.hasOwn(ACTIONS, code) ? ACTIONS[code]! : "";
}
