/**
 * When a call is made again. Pure.
 *
 * A call may be repeated if it reads, or carries an Idempotency-Key, or was surely not done: its connection could not
 * be made, or it was refused before anything of it was kept (429 `rate_limited`, 503 `shutting_down`). Every other
 * failure leaves open whether it was done, and is the caller's to decide.
 */
import { ApiError, type RelayError, Unreachable } from "./errors.js";

const NOT_DONE = ["rate_limited", "shutting_down"];
const PASSING = [
  ...NOT_DONE,
  "unavailable",
  "accept_unavailable",
  "idempotency_in_progress",
  "body_timeout",
  "internal_error",
  "throttled",
];

export interface Retries {
  /** Further tries. */
  most: number;
  firstWaitSeconds: number;
  /** Who asks for more patience is not waited for; the error says how long it would have been. */
  longestWaitSeconds: number;
}

export const RETRIES: Retries = { most: 2, firstWaitSeconds: 0.5, longestWaitSeconds: 30 };

/** Seconds until the next try, after `attempt` of them (from 1) failed; null: there is none. */
export function waitBefore(
  retries: Retries,
  attempt: number,
  error: RelayError,
  isRepeatable: boolean,
  chance: () => number = Math.random,
): number | null {
  if (attempt > retries.most || !mayHelp(error, isRepeatable)) return null;
  const asked = error instanceof ApiError ? error.retryAfterSeconds : null;
  if (asked !== null) return asked <= retries.longestWaitSeconds ? asked : null;
  const backoff = Math.min(retries.firstWaitSeconds * 2 ** (attempt - 1), retries.longestWaitSeconds);
  return backoff * (0.75 + chance() / 2); // spreads load
}

function mayHelp(error: RelayError, isRepeatable: boolean): boolean {
  if (error instanceof Unreachable) return isRepeatable || !error.wasSent;
  return error instanceof ApiError && (isRepeatable ? PASSING : NOT_DONE).includes(error.code);
}
