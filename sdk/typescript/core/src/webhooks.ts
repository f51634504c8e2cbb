/**
 * Checks deliveries: Standard Webhooks 1.0.0 (https://www.standardwebhooks.com), as the relay signs them.
 *
 * Secrets are `whsec_...` (HMAC-SHA256, `v1`) or the public half of a pair, `whpk_...` (ed25519, `v1a`). WebCrypto
 * compares, in constant time.
 */
import { WebhookError } from "./errors.js";

/** How old a delivery may be, or of how far in the future. */
export const TOLERANCE_SECONDS = 300;
const MOST_SIGNATURES = 32;

/** What was checked. `id` is the same on every attempt and replay: remember it to leave out a second copy. */
export interface Webhook {
  id: string;
  sentAt: Date;
  /** Empty where another sender signed. */
  deliveryId: string;
  attempt: number;
  isReplay: boolean;
}

/**
 * `body`: the bytes as they came, before anything parsed them. Throws WebhookError, and TypeError for a secret that is
 * none. Give old and new secret while one replaces the other: one signature that fits is enough.
 */
export async function verifyWebhook(
  body: Uint8Array | ArrayBuffer | string,
  headers: Headers | Record<string, string | string[] | undefined>,
  secrets: string | readonly string[],
  options: { toleranceSeconds?: number; now?: () => number } = {},
): Promise<Webhook> {
  const found = headersOf(headers);
  const stamp = found.get("webhook-timestamp") ?? "";
  const sentAt = sent(stamp, options.toleranceSeconds ?? TOLERANCE_SECONDS, (options.now ?? Date.now)());
  const id = found.get("webhook-id");
  if (!id) throw new WebhookError("webhook-id is missing.");
  const signed = joined(`${id}.${stamp}.`, body);
  const signatures = (found.get("webhook-signature") ?? "").split(" ").slice(0, MOST_SIGNATURES);
  const keys = typeof secrets === "string" ? [secrets] : secrets;
  const fits = await Promise.all(keys.map((secret) => isSigned(secret, signatures, signed)));
  if (!fits.includes(true)) {
    throw new WebhookError("No signature of webhook-signature fits this body and these secrets.");
  }
  return {
    id,
    sentAt,
    deliveryId: found.get("relay-delivery-id") ?? "",
    attempt: numberOf(found.get("relay-attempt") ?? "1"),
    isReplay: numberOf(found.get("relay-replay") ?? "0") > 0,
  };
}

/** The three headers of a delivery, `v1`: for tests of receivers. */
export async function signWebhook(
  body: Uint8Array | ArrayBuffer | string,
  options: { webhookId: string; secret: string; at?: Date },
): Promise<Record<string, string>> {
  const stamp = String(Math.floor((options.at ?? new Date()).getTime() / 1000));
  const key = await hmacKey(options.secret, "sign");
  const mark = await crypto.subtle.sign("HMAC", key, joined(`${options.webhookId}.${stamp}.`, body));
  return {
    "webhook-id": options.webhookId,
    "webhook-timestamp": stamp,
    "webhook-signature": `v1,${btoa(String.fromCharCode(...new Uint8Array(mark)))}`,
  };
}

async function isSigned(secret: string, signatures: string[], signed: Bytes): Promise<boolean> {
  const isPublic = secret.startsWith("whpk_");
  const [key, algorithm, mark] = isPublic
    ? [await crypto.subtle.importKey("raw", decoded(secret, "whpk_"), "Ed25519", false, ["verify"]), "Ed25519", "v1a,"]
    : [await hmacKey(secret, "verify"), "HMAC", "v1,"];
  for (const one of signatures) {
    const bytes = one.startsWith(mark) ? bytesOf(one.slice(mark.length)) : null;
    if (bytes && (await crypto.subtle.verify(algorithm, key, bytes, signed))) return true;
  }
  return false;
}

type Bytes = Uint8Array<ArrayBuffer>;

function hmacKey(secret: string, use: "sign" | "verify"): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", decoded(secret, "whsec_"), { name: "HMAC", hash: "SHA-256" }, false, [use]);
}

function headersOf(headers: Headers | Record<string, string | string[] | undefined>): Headers {
  if (headers instanceof Headers) return headers;
  const found = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) found.set(name, Array.isArray(value) ? value.join(" ") : value);
  }
  return found;
}

function sent(stamp: string, toleranceSeconds: number, nowMs: number): Date {
  if (!/^[0-9]{1,12}$/.test(stamp)) throw new WebhookError("webhook-timestamp is missing, or no number.");
  const away = nowMs / 1000 - Number(stamp);
  if (Math.abs(away) > toleranceSeconds) {
    const said = away > 0 ? "old" : "of the future";
    throw new WebhookError(`webhook-timestamp is ${Math.abs(away).toFixed(0)} s ${said}; check this machine's clock.`);
  }
  return new Date(Number(stamp) * 1000);
}

function joined(head: string, body: Uint8Array | ArrayBuffer | string): Bytes {
  const start = new TextEncoder().encode(head);
  const rest = typeof body === "string" ? new TextEncoder().encode(body) : new Uint8Array(body);
  const whole = new Uint8Array(start.length + rest.length);
  whole.set(start);
  whole.set(rest, start.length);
  return whole;
}

function decoded(secret: string, prefix: string): Bytes {
  const bytes = bytesOf(secret.startsWith(prefix) ? secret.slice(prefix.length) : secret);
  if (!bytes?.length) throw new TypeError("A webhook secret is `whsec_` or `whpk_` and base64.");
  return bytes;
}

function bytesOf(base64: string): Bytes | null {
  try {
    return Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  } catch {
    return null; // no base64: fits nothing
  }
}

function numberOf(text: string): number {
  return /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
}
