import assert from "node:assert/strict";
import { it } from "node:test";
import { signWebhook, verifyWebhook, WebhookError } from "../dist/index.js";

const SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const body = new TextEncoder().encode('{"text":"å"}');
const sign = (at) => signWebhook(body, { webhookId: "m1", secret: SECRET, at });

it("is believed by the old or the new secret, with what the relay says beside it", async () => {
  const headers = { ...(await sign()), "relay-attempt": "3", "relay-replay": "1", "relay-delivery-id": "d1" };
  const found = await verifyWebhook(body, headers, ["whsec_AAAA", SECRET]);
  assert.deepEqual({ ...found, sentAt: 0 }, { id: "m1", sentAt: 0, deliveryId: "d1", attempt: 3, isReplay: true });
});

it("is not believed once anything is changed", async () => {
  const good = await sign();
  const changes = [
    [body.slice(1), good], [body, { ...good, "webhook-id": "m2" }], [body, { ...good, "webhook-id": "" }],
    [body, { ...good, "webhook-timestamp": "x" }], [body, { ...good, "webhook-signature": "v1,!! v1a,AAAA" }],
    [body, await sign(new Date(Date.now() - 400_000))], [body, await sign(new Date(Date.now() + 400_000))],
  ];
  for (const [sent, headers] of changes) await assert.rejects(verifyWebhook(sent, headers, SECRET), WebhookError);
  await assert.rejects(verifyWebhook(body, good, "whsec_"), TypeError);
});

it("takes an ed25519 signature by the public half", async () => {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
  const raw = Buffer.from(await crypto.subtle.exportKey("raw", pair.publicKey)).toString("base64");
  const stamp = String(Math.floor(Date.now() / 1000));
  const signed = Buffer.concat([Buffer.from(`m1.${stamp}.`), body]);
  const mark = Buffer.from(await crypto.subtle.sign("Ed25519", pair.privateKey, signed)).toString("base64");
  const headers = new Headers({ "webhook-id": "m1", "webhook-timestamp": stamp, "webhook-signature": `v1,AAAA v1a,${mark}` });
  assert.equal((await verifyWebhook(body, headers, `whpk_${raw}`)).id, "m1");
  await assert.rejects(verifyWebhook(body.slice(1), headers, `whpk_${raw}`), WebhookError);
});
