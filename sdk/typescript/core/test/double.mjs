// A relay on a port of its own, for what the real one does not do on demand: it answers as it is told, and counts.
import { createServer } from "node:http";

/** `answer({ method, url, headers, body })` returns `{ status, headers, body }`, or null to break the connection. */
export async function serving(answer) {
  const calls = [];
  const server = createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const call = {
      method: request.method, url: request.url, headers: request.headers, body: Buffer.concat(pieces).toString(),
    };
    calls.push(call);
    const said = await answer(call, calls.length);
    if (said === null) return request.socket.destroy();
    const { status = 200, headers = {}, body = {} } = said;
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    url,
    calls,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** An authorization server whose refresh tokens are used once; one that is used twice ends the sign-in. */
export async function authorizationServer({ expires_in = 600 } = {}) {
  let number = 0;
  let isEnded = false;
  let behaviour = null;
  const good = new Set();
  const issue = () => {
    number += 1;
    good.add(`r${number}`);
    return { body: { access_token: `a${number}`, refresh_token: `r${number}`, expires_in, token_type: "Bearer" } };
  };
  const server = await serving(({ url, body }) => {
    if (behaviour) return behaviour();
    const form = new URLSearchParams(body);
    if (url === "/oauth/revoke") {
      isEnded = true;
      return { body: {} };
    }
    const refused = { status: 400, body: { error: "invalid_grant", error_description: "It has ended." } };
    if (form.get("grant_type") === "authorization_code") return form.get("code") === "expired" ? refused : issue();
    if (isEnded || !good.delete(form.get("refresh_token"))) {
      isEnded = true;
      return refused;
    }
    return issue();
  });
  const refreshes = () => server.calls.filter((call) => call.body.includes("grant_type=refresh_token")).length;
  return Object.assign(server, { refreshes, behave: (how) => (behaviour = how), isEnded: () => isEnded });
}

/** Web Locks of one origin: exclusive, in turn. */
export function locks() {
  let last = Promise.resolve();
  return {
    request: (_name, work) => {
      const turn = last.then(() => work({}));
      last = turn.catch(() => undefined);
      return turn;
    },
  };
}

/** BroadcastChannels of one origin: what one says all others hear, later and in order. */
export function channels() {
  const open = [];
  return () => {
    const channel = {
      onmessage: null,
      postMessage: (data) => {
        const said = structuredClone(data);
        for (const other of open) if (other !== channel) setImmediate(() => other.onmessage?.({ data: said }));
      },
      close: () => open.splice(open.indexOf(channel), 1),
    };
    open.push(channel);
    return channel;
  };
}
