"""Asks the OpenID Connect provider that the operator configured: where it is, for an ID token, and what that says.

Authorization code with PKCE (RFC 7636) and a nonce; OpenID Connect Core 1.0, Discovery 1.0 (both read 2026-11). Nothing
is kept between sign-ins, so a key that the provider takes back is gone at once. Each costs four requests to it, each
with a deadline, a largest size, no redirects, and to public addresses only, but for the issuer's own host: the
operator named it.
"""

import base64
import hashlib
import http.client
import json
import secrets
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from relay_contract.netguard import Network, refusal

WAIT_SECONDS = 5.0
WHOLE_SECONDS = 10.0
MAX_BYTES = 262_144
SKEW_SECONDS = 60
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures alone: with `none` or a shared secret anybody who knows what is public could write a token."""
_CHUNK = 65_536


class ProviderFailed(Exception):
    """The provider did not answer as it must, or its word is not to be believed. The text has no secret in it."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What a browser's session keeps between here and the provider."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "Begun":
        """Random in all of it."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))


@dataclass(frozen=True, slots=True)
class Person:
    """Who signed in there. `email` is "" where the provider does not vouch for it."""

    issuer: str
    subject: str
    email: str


@dataclass(frozen=True, slots=True)
class Provider:
    """As the operator configured it."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    allowed: tuple[Network, ...]  # networks that its other hosts may be in although they are not public

    def address(self, begun: Begun) -> str:
        """Where the browser goes. Raises ProviderFailed."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(begun.verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "openid email",
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        endpoint = self._endpoint(self._discovered(), "authorization_endpoint")
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    def person(self, begun: Begun, code: str) -> Person:
        """Who the code is of. Raises ProviderFailed."""
        discovered = self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": begun.verifier,
        }
        answer = self._fetch(self._endpoint(discovered, "token_endpoint"), form)
        keys = self._fetch(self._endpoint(discovered, "jwks_uri"))
        return self._read(answer.get("id_token"), keys, begun.nonce)

    def _read(self, id_token: object, keys: dict[str, Any], nonce: str) -> Person:
        if not isinstance(id_token, str):
            raise ProviderFailed("it gave no ID token")
        exact = {"iss": self.issuer, "aud": self.client_id, "nonce": nonce}
        options: dict[str, Any] = {name: {"essential": True, "value": value} for name, value in exact.items()}
        options |= {name: {"essential": True} for name in ("exp", "iat", "sub")}
        try:
            key_set = KeySet.import_key_set(keys)  # type: ignore[arg-type]  # a wrong one is refused there
            claims = jwt.decode(id_token, key_set, algorithms=ALGORITHMS).claims
            jwt.JWTClaimsRegistry(leeway=SKEW_SECONDS, **options).validate(claims)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ProviderFailed(f"its ID token is not valid: {type(error).__name__}") from None
        return self._person(claims)

    def _person(self, claims: dict[str, Any]) -> Person:
        audience, party, subject = claims["aud"], claims.get("azp"), claims["sub"]
        if party not in (None, self.client_id) or (isinstance(audience, list) and len(audience) > 1 and party is None):
            raise ProviderFailed("its ID token is for somebody else")
        if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
            raise ProviderFailed("its ID token names nobody")
        email = claims.get("email")
        is_proved = claims.get("email_verified") is True and isinstance(email, str)
        return Person(self.issuer, subject, email if is_proved and isinstance(email, str) else "")

    def _discovered(self) -> dict[str, Any]:
        found = self._fetch(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:
            raise ProviderFailed("its discovery document is of another issuer")
        return found

    def _endpoint(self, discovered: dict[str, Any], name: str) -> str:
        """As secure as the issuer: never http where the issuer is https."""
        url, wanted = discovered.get(name), urlsplit(self.issuer).scheme
        if not isinstance(url, str) or not url.isascii() or urlsplit(url).scheme not in ("https", wanted):
            raise ProviderFailed(f"its discovery document has no usable {name}")
        return url

    def _fetch(self, url: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        """A JSON object. A `form` is posted with the client's credentials."""
        try:
            answer = json.loads(self._exchange(url, form))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ProviderFailed(f"no usable answer: {type(error).__name__}") from None
        if not isinstance(answer, dict):
            raise ProviderFailed("its answer is no JSON object")
        return answer

    def _exchange(self, url: str, form: dict[str, str] | None) -> bytes:
        parts = urlsplit(url)
        headers = {"Accept": "application/json"}
        if form is not None:
            pair = f"{quote(self.client_id, safe='')}:{quote(self.client_secret, safe='')}"  # RFC 6749, 2.3.1
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        is_own = parts.hostname == urlsplit(self.issuer).hostname
        connection = _Connection(parts.hostname or "", parts.port, parts.scheme == "https", is_own, self.allowed)
        try:
            path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
            connection.request("GET" if form is None else "POST", path, urlencode(form) if form else None, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise ProviderFailed(f"it answered {answer.status}")
            return _all_of(answer)
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """To an address that was looked at: the one that is judged is the one that is called."""

    def __init__(self, host: str, port: int | None, is_tls: bool, is_own: bool, allowed: tuple[Network, ...]) -> None:
        super().__init__(host, port or (443 if is_tls else 80), timeout=WAIT_SECONDS)
        self._is_tls, self._is_own, self._allowed = is_tls, is_own, allowed

    def connect(self) -> None:
        """Raises OSError where no address may be called."""
        last: OSError = OSError("no address that may be called")
        for *_, place in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            address = str(place[0])
            if not self._is_own and refusal(address, self._allowed) is not None:
                continue
            try:
                self.sock = socket.create_connection((address, self.port), WAIT_SECONDS)
                break
            except OSError as error:
                last = error
        else:
            raise last
        if self._is_tls:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _all_of(answer: http.client.HTTPResponse) -> bytes:
    ends_at, body = time.monotonic() + WHOLE_SECONDS, b""
    while chunk := answer.read1(_CHUNK):
        body += chunk
        if len(body) > MAX_BYTES or time.monotonic() > ends_at:
            raise ProviderFailed("its answer is too large or too slow")
    return body
