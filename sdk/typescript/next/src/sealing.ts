/** Cookies that nobody reads or makes but this site: AES-256-GCM, with a key of its own for each purpose (HKDF). */

const IV_BYTES = 12;

export async function sealingKey(secret: string, purpose: string): Promise<CryptoKey> {
  const bytes = new TextEncoder();
  const base = await crypto.subtle.importKey("raw", bytes.encode(secret), "HKDF", false, ["deriveKey"]);
  const way = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: bytes.encode(`relay-sdk ${purpose}`) };
  return crypto.subtle.deriveKey(way, base, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}

export async function seal(key: CryptoKey, value: object): Promise<string> {
  const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES));
  const plain = new TextEncoder().encode(JSON.stringify(value));
  const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv }, key, plain));
  return Buffer.concat([iv, sealed]).toString("base64url");
}

/** Null for what was sealed with another key, or changed since. */
export async function unseal(key: CryptoKey, text: string): Promise<unknown> {
  const bytes = Uint8Array.from(Buffer.from(text, "base64url"));
  try {
    const way = { name: "AES-GCM", iv: bytes.slice(0, IV_BYTES) };
    const plain = await crypto.subtle.decrypt(way, key, bytes.slice(IV_BYTES));
    return JSON.parse(new TextDecoder().decode(plain));
  } catch {
    return null; // not ours: nobody is signed in by it
  }
}
