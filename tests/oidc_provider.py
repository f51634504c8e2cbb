"""An OpenID Connect provider on loopback, in a thread: discovery, an authorization that says yes, tokens, keys.

As strict as one that people use: codes work once, PKCE is S256 and checked, the client proves itself. A test changes
`claims`, `header` or `key` to have it lie.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "relay here", "canary-oidc-secret:%"


@dataclass
class OidcProvider:
    """What it says. `claims` are added to those of each ID token; None takes one out."""

    port: int = 0
    key: RSAKey | OctKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    published: list[dict[str, Any]] = field(default_factory=list)
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "RS256", "kid": "one"})
    claims: dict[str, Any] = field(default_factory=dict)
    discovery: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def id_token(self, asked: dict[str, str]) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "sub": "ada-1", "nonce": asked["nonce"], "iat": now,
                  "exp": now + 300, "email": "ada@example.test", "email_verified": True}  # fmt: skip
        claims = {name: value for name, value in (claims | self.claims).items() if value is not None}
        if self.header["alg"] == "none":
            parts = (json.dumps(part).encode() for part in (self.header, claims))
            return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."
        return jwt.encode(self.header, claims, self.key, algorithms=[self.header["alg"]])


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        provider, parts = cast("_Server", self.server).provider, urlsplit(self.path)
        provider.asked.append(parts.path)
        match parts.path:
            case "/.well-known/openid-configuration":
                places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
                told = {name: f"{provider.issuer}/{place}" for name, place in places.items()}
                self._say({"issuer": provider.issuer} | told | provider.discovery)
            case "/jwks":
                self._say({"keys": provider.published})
            case "/authorize":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
                assert asked["code_challenge_method"] == "S256"
                assert set(asked["scope"].split()) == {"openid", "email"}
                code = secrets.token_urlsafe(16)
                provider.codes[code] = asked
                self.send_response(302)
                query = urlencode({"code": code, "state": asked["state"], "iss": provider.issuer})
                self.send_header("Location", f"{asked['redirect_uri']}?{query}")
                self.end_headers()
            case _:
                self._say({"error": "not_found"}, 404)

    def do_POST(self) -> None:
        provider = cast("_Server", self.server).provider
        provider.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        client = base64.b64encode(b"relay%20here:canary-oidc-secret%3A%25").decode()
        asked = provider.codes.pop(form["code"], None)
        verifier = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        proofs = (f"Basic {client}", verifier.decode(), form["redirect_uri"])
        if asked and proofs == (self.headers["Authorization"], asked["code_challenge"], asked["redirect_uri"]):
            self._say({"access_token": "x", "token_type": "Bearer", "id_token": provider.id_token(asked)})
        else:
            self._say({"error": "invalid_grant"}, 400)

    def _say(self, answer: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing on the terminal."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    provider: OidcProvider


@contextmanager
def open_provider() -> Iterator[OidcProvider]:
    """It listens until the block ends."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        provider = server.provider = OidcProvider(port=server.server_address[1])
        provider.published.append(dict(provider.key.as_dict(private=False)))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield provider
        server.shutdown()
        thread.join()
