"""Access tokens for targets by OAuth 2.0 client credentials (RFC 6749, section 4.4): what is asked, what was answered.

Whoever makes the call keeps these rules: `netguard` at the socket, no redirects (a token endpoint that redirects would
carry the client's secret elsewhere), TIMEOUT_SECONDS over all of it, and no more than MAX_ANSWER_BYTES read.

Pure. Errors name the endpoint's error code at the most: an answer's other text may repeat what was sent.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote_plus, urlencode

import msgspec

TIMEOUT_SECONDS = 10
MAX_ANSWER_BYTES = 65_536
MARGIN_SECONDS = 60
"""A token is given up so long before its end, or at half of its life if that is later: it must outlive its call."""
DEFAULT_LIFE_SECONDS = 300
"""Of a token whose answer does not say."""
MAX_LIFE_SECONDS = 86_400
LATE_SHARE = 0.2
"""In this last part of the time in which a token is used the next one is asked for."""
MAX_TOKEN_LENGTH = 16_384

_TOKEN = re.compile(r"[!-~]+")  # what a header can carry without ending early; RFC 6750 allows no more
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")  # RFC 6749 section 5.2 and its registry; other text is not repeated
_SECONDS = re.compile(r"[0-9]{1,9}")


class ClientAuth(StrEnum):
    """How the client proves itself (RFC 6749, section 2.3.1)."""

    BASIC = "basic"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """A target's settings. `scope` and `audience` are left out where they are empty."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    client_auth: ClientAuth = ClientAuth.BASIC
    scope: str = ""
    audience: str = ""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A POST, ready to be sent. Header names in lower case."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. `expires_at`: Unix seconds after which it is no longer used; the margin is off already.
    `due_at`: when the next one is asked for."""

    value: str = field(repr=False)
    expires_at: float
    due_at: float

    def is_usable(self, now: float) -> bool:
        return now < self.expires_at

    def is_due(self, now: float) -> bool:
        """Whether it is time to ask for the next one, while this one may still be used."""
        return now >= self.due_at

    def authorization(self) -> str:
        """The header's value."""
        return f"Bearer {self.value}"


class TokenError(Exception):
    """There is no token. `text` is for the attempt log: it says what happened and holds no secret.

    `is_refusal`: the endpoint said no to these credentials, so asking again soon is of no use.
    """

    def __init__(self, text: str, *, is_refusal: bool = False) -> None:
        self.text = text
        self.is_refusal = is_refusal
        super().__init__(text)


def token_request(credentials: ClientCredentials) -> TokenRequest:
    """The call that asks for a token."""
    form = {"grant_type": "client_credentials"}
    headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
    match credentials.client_auth:
        case ClientAuth.BASIC:
            # Both halves are form-encoded first (section 2.3.1), so that a colon in the id cannot move the boundary.
            pair = f"{quote_plus(credentials.client_id)}:{quote_plus(credentials.client_secret)}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")
        case ClientAuth.BODY:
            form |= {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
    optional = {"scope": credentials.scope, "audience": credentials.audience}
    form |= {name: value for name, value in optional.items() if value}
    return TokenRequest(credentials.token_url, headers, urlencode(form).encode("ascii"))


def read_token(status: int, body: bytes, now: float) -> Token:
    """The token of an answer, or TokenError. `body`: as much as was read, which may be MAX_ANSWER_BYTES + 1."""
    if len(body) > MAX_ANSWER_BYTES:
        raise TokenError(f"The token endpoint answered with more than {MAX_ANSWER_BYTES} bytes.")
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        answer = None
    if status != 200:
        raise _refused(status, answer)
    if answer is None:
        raise TokenError("The token endpoint answered 200 with something that is no token (RFC 6749, section 5.1).")
    if isinstance(answer.error, str):
        raise _refused(status, answer)  # some answer 200 to everything
    if not isinstance(answer.access_token, str) or not _TOKEN.fullmatch(answer.access_token):
        raise TokenError("The token endpoint's answer has no access_token that a header could carry.")
    if len(answer.access_token) > MAX_TOKEN_LENGTH:
        raise TokenError(f"The token endpoint's access_token is longer than {MAX_TOKEN_LENGTH} characters.")
    if not isinstance(answer.token_type, str) or answer.token_type.lower() != "bearer":
        raise TokenError("The token endpoint's token is not of the type Bearer, the only one that is supported.")
    life = _life_seconds(answer.expires_in)
    used_seconds = max(life - MARGIN_SECONDS, life / 2)
    return Token(answer.access_token, now + used_seconds, now + used_seconds * (1 - LATE_SHARE))


class _Answer(msgspec.Struct):
    """Every field may be anything: the errors are ours to word."""

    access_token: object = None
    token_type: object = "Bearer"  # noqa: S105 (no password); section 5.1 demands it, some leave it out
    expires_in: object = None
    error: object = None


def _refused(status: int, answer: _Answer | None) -> TokenError:
    code = answer.error if answer is not None else None
    if isinstance(code, str) and _ERROR_CODE.fullmatch(code):
        return TokenError(f"The token endpoint refused with {status} {code}.", is_refusal=status < 500)
    return TokenError(f"The token endpoint answered {status}.", is_refusal=status in {400, 401, 403})


def _life_seconds(expires_in: object) -> float:
    """A number, or as some write it a number in quotes. Anything else, and less than nothing, is the default."""
    if isinstance(expires_in, str) and _SECONDS.fullmatch(expires_in):
        expires_in = int(expires_in)
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or not expires_in >= 0:
        return DEFAULT_LIFE_SECONDS
    return float(min(expires_in, MAX_LIFE_SECONDS))
