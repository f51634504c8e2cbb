/**
 * Errors as the relay names them.
 *
 *     RelayError
 *     ├── Unreachable           no answer came; `wasSent` says whether the call may have arrived
 *     ├── ApiError              an answer that says what is wrong
 *     │   ├── InvalidCall       400, 404, 405, 409, 413, 415, 422, 508: the call cannot be served as it was sent
 *     │   ├── Unauthenticated   401: the key or token is missing, unknown, expired or revoked
 *     │   ├── PaymentRequired   402
 *     │   │   ├── InsufficientCredits    `topUpUrl` says where to add some, if the relay has such a place
 *     │   │   └── BudgetExceeded         somebody set a cap; `resetsAt` says when it begins anew
 *     │   ├── Forbidden         403
 *     │   ├── RateLimited       429
 *     │   ├── UpstreamFailed    502, 504: the host or target did not answer as it should
 *     │   └── Unavailable       500, 503: the relay's own to clear
 *     ├── SignInFailed          an OAuth step was refused, or a token can be renewed no more
 *     └── WebhookError          a delivery that is not to be believed
 *
 * `code` is the server's, from the error tree of its documentation; `action` what clears it.
 */
import { actionOf } from "./actions.js";

const MOST_QUOTED = 500;

/** Everything that this package throws on purpose. */
export class RelayError extends Error {
  constructor(text: string, options?: ErrorOptions) {
    super(text, options);
    this.name = new.target.name;
  }
}

/** No whole answer came. `wasSent`: the relay may have got the call, and may have done it. */
export class Unreachable extends RelayError {
  constructor(
    text: string,
    readonly wasSent: boolean,
    cause?: unknown,
  ) {
    super(text, { cause });
  }
}

/**
 * `code` is OAuth's (`access_denied`, `invalid_grant`, ...), or `signed_out`, `lost_state`, `wrong_issuer` of this
 * package. `action` is a sentence for the user.
 */
export class SignInFailed extends RelayError {
  constructor(
    readonly code: string,
    text: string,
    readonly action = "Sign in again.",
  ) {
    super(text);
  }
}

/** The signature is wrong, missing, too old or of the future. Answer 4xx, and do nothing else. */
export class WebhookError extends RelayError {}

/** What an answer said of itself. */
export interface Refusal {
  status: number;
  code: string;
  message: string;
  action: string;
  /** Whose fault it is, `client`, `relay` or `upstream`; empty where it was not said. */
  source: string;
  requestId: string;
  retryAfterSeconds: number | null;
  /** Figures that a program can act on, such as `available_microcredits`. */
  details: Record<string, unknown>;
}

/** A refusal. `message` is the server's text. */
export class ApiError extends RelayError implements Refusal {
  declare readonly status: number;
  declare readonly code: string;
  declare readonly action: string;
  declare readonly source: string;
  declare readonly requestId: string;
  declare readonly retryAfterSeconds: number | null;
  declare readonly details: Record<string, unknown>;

  constructor({ message, ...said }: Refusal) {
    super(message);
    Object.assign(this, said);
  }
}

/** The call cannot be served as it was sent. */
export class InvalidCall extends ApiError {}

/** The key or token is missing, unknown, expired or revoked. */
export class Unauthenticated extends ApiError {}

/** Somebody has to pay, or to allow it, first. */
export class PaymentRequired extends ApiError {}

/** The wallet cannot pay the call. */
export class InsufficientCredits extends PaymentRequired {
  /** Where to add credits; http or https, null where the relay has no such place. */
  get topUpUrl(): string | null {
    const found = this.details["top_up_url"];
    return typeof found === "string" && /^https?:\/\//.test(found) ? found : null;
  }

  /** What the wallet can pay. */
  get availableMicrocredits(): number | null {
    const found = this.details["available_microcredits"];
    return typeof found === "number" ? found : null;
  }
}

/** A cap of the key, the user, the project or the application was reached. */
export class BudgetExceeded extends PaymentRequired {
  /** Whose cap: `key`, `user`, `project` or `grant`. */
  get scope(): string {
    return text(this.details, "scope");
  }

  /** When the period begins anew. */
  get resetsAt(): Date | null {
    const found = this.details["reset_at"];
    return typeof found === "number" ? new Date(found * 1000) : null;
  }
}

/** The key or token may not do this. */
export class Forbidden extends ApiError {}

/** Too many calls. `retryAfterSeconds` says how long to wait. */
export class RateLimited extends ApiError {}

/** The host or the target did not answer as it should. */
export class UpstreamFailed extends ApiError {}

/** The relay cannot do it at the moment. */
export class Unavailable extends ApiError {}

const OF_STATUS: Record<number, typeof ApiError> = {
  401: Unauthenticated,
  402: PaymentRequired,
  403: Forbidden,
  429: RateLimited,
  500: Unavailable,
  502: UpstreamFailed,
  503: Unavailable,
  504: UpstreamFailed,
};

/**
 * What an answer with an error says, in whichever of the relay's shapes.
 *
 * | who | body |
 * |---|---|
 * | endpoints | `{"error": code, "message", "requestId", "details"}` |
 * | the control plane | `{"error": code, "message", "action"}` |
 * | surfaces of OpenAI's shape | `{"error": {"code", "message", "details"}}` |
 * | surfaces of Anthropic's shape | `{"type": "error", "error": {"type", "message", "details"}, "request_id"}` |
 */
export function errorOf(status: number, headers: Headers, body: string): ApiError {
  const document = parsed(body);
  const inner = document["error"];
  const said = isRecord(inner) ? inner : document;
  const code = typeof inner === "string" ? inner : text(said, "code") || text(said, "type");
  const details = said["details"];
  return new (kindOf(code, status))({
    status,
    code: code || `http_${status}`,
    message: text(said, "message") || body.slice(0, MOST_QUOTED) || "There was no text.",
    action: text(document, "action") || actionOf(code),
    source: headers.get("x-relay-error-source") ?? "",
    requestId: headers.get("x-request-id") || text(document, "requestId") || text(document, "request_id"),
    retryAfterSeconds: secondsOf(headers.get("retry-after")),
    details: isRecord(details) ? details : {},
  });
}

/**
 * What a vendor's SDK threw for an answer of the relay, in the relay's own classes: both openai and @anthropic-ai/sdk
 * keep status, headers and body. Everything else is returned as it is.
 */
export function relayErrorOf(thrown: unknown): unknown {
  if (!isRecord(thrown) || thrown instanceof RelayError || typeof thrown["status"] !== "number") return thrown;
  const found = thrown["error"];
  const body = isRecord(found) && "error" in found ? found : { error: found };
  const headers = thrown["headers"] instanceof Headers ? thrown["headers"] : new Headers();
  return errorOf(thrown["status"], headers, JSON.stringify(body));
}

/** A JSON object; empty for whatever is none. */
export function parsed(body: string): Record<string, unknown> {
  try {
    const found: unknown = JSON.parse(body);
    return isRecord(found) ? found : {};
  } catch {
    return {}; // no JSON: quoted as text
  }
}

/** A text of that name; empty for what is none. */
export function text(document: Record<string, unknown>, name: string): string {
  const found = document[name];
  return typeof found === "string" ? found : "";
}

/** `Retry-After` in seconds. Its form with a date is not among what the relay sends. */
function secondsOf(said: string | null): number | null {
  const seconds = said === null || said.trim() === "" ? NaN : Number(said);
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

function kindOf(code: string, status: number): typeof ApiError {
  if (code === "insufficient_credits") return InsufficientCredits;
  if (code === "budget_exceeded") return BudgetExceeded;
  return OF_STATUS[status] ?? (status < 500 || status === 508 ? InvalidCall : Unavailable);
}

function isRecord(found: unknown): found is Record<string, unknown> {
  return typeof found === "object" && found !== null && !Array.isArray(found);
}
