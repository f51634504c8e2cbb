// oauth4webapi: an application that finds the authorization server, asks a user, and uses, renews and gives back what it
// gets. It prints where the user has to go, and reads where they came back to.
import assert from "node:assert/strict";
import { createInterface } from "node:readline/promises";
import * as oauth from "oauth4webapi";

const { ISSUER, RESOURCE, CLIENT_ID, CLIENT_SECRET, REDIRECT } = process.env;
const plain = { [oauth.allowInsecureRequests]: true };
const client = { client_id: CLIENT_ID };
const proof = CLIENT_SECRET ? oauth.ClientSecretBasic(CLIENT_SECRET) : oauth.None();

for (const address of [RESOURCE, ISSUER]) {
  const found = await oauth.resourceDiscoveryRequest(new URL(address), plain);
  const resource = await oauth.processResourceDiscoveryResponse(new URL(address), found);
  assert.deepEqual(resource.authorization_servers, [ISSUER]);
}
const issuer = new URL(ISSUER);
const discovered = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...plain });
const server = await oauth.processDiscoveryResponse(issuer, discovered);

const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const asked = new URL(server.authorization_endpoint);
asked.search = new URLSearchParams({
  response_type: "code",
  client_id: CLIENT_ID,
  redirect_uri: REDIRECT,
  scope: "inference account offline_access",
  state,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: "S256",
});
console.log(asked.href);
const back = await createInterface({ input: process.stdin }).question("");

const answered = oauth.validateAuthResponse(server, client, new URL(back), state);
const exchange = () => oauth.authorizationCodeGrantRequest(server, client, proof, answered, REDIRECT, verifier, plain);
const first = await oauth.processAuthorizationCodeResponse(server, client, await exchange());
assert.equal(first.expires_in, 600);

for (const audience of [RESOURCE, ISSUER]) {
  const call = new Request(audience, { headers: { authorization: `Bearer ${first.access_token}` } });
  const claims = await oauth.validateJwtAccessToken(server, call, audience, plain);
  assert.equal(claims.client_id, CLIENT_ID);
  const told = await oauth.userInfoRequest(server, client, first.access_token, plain);
  const user = await oauth.processUserInfoResponse(server, client, claims.sub, told);
  assert.equal(user.balance.mode, "live");
}

const refresh = (token) => oauth.refreshTokenGrantRequest(server, client, proof, token, plain);
const second = await oauth.processRefreshTokenResponse(server, client, await refresh(first.refresh_token));
assert.notEqual(second.refresh_token, first.refresh_token);
if (CLIENT_SECRET) assert.equal(await isActive(second.access_token), true);

const revoked = await oauth.revocationRequest(server, client, proof, second.refresh_token, plain);
assert.equal(await oauth.processRevocationResponse(revoked), undefined);
if (CLIENT_SECRET) assert.equal(await isActive(second.access_token), false);
await assert.rejects(async () => oauth.processRefreshTokenResponse(server, client, await refresh(second.refresh_token)), {
  error: "invalid_grant",
});
await assert.rejects(async () => oauth.processAuthorizationCodeResponse(server, client, await exchange()), {
  error: "invalid_grant",
});
process.exit(0);

async function isActive(token) {
  const asked = await oauth.introspectionRequest(server, client, proof, token, plain);
  return (await oauth.processIntrospectionResponse(server, client, asked)).active;
}
