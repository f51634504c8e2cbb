"""Users' tokens: the device flow (RFC 8628) for programs, and tokens that renew themselves (RFC 6749 section 6).

A refresh token of the relay is used once, and one that is used twice ends the whole sign-in. So `UserTokens` renews
under a lock, and hands the new pair on before anybody uses it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import httpx2

from relay_sdk.errors import SignInFailed, Unreachable
from relay_sdk.retries import unreachable

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
EARLY_SECONDS = 30.0
"""A token is renewed so long before its end. Ends are reckoned from the answer's arrival: this machine's clock may be
wrong."""
_SLOW_DOWN_SECONDS = 5
_TIMEOUT_SECONDS = 30.0

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Tokens:
    """A pair. `ends_at`: Unix seconds by this machine's clock."""

    access_token: str
    refresh_token: str
    ends_at: float

    def __repr__(self) -> str:
        return f"Tokens(ends_at={self.ends_at:.0f})"

    def as_dict(self) -> dict[str, Any]:
        """To be kept somewhere that nobody else reads."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Tokens:
        """Raises KeyError, TypeError and ValueError for what is none."""
        return cls(str(document["access_token"]), str(document["refresh_token"]), float(document["ends_at"]))


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What the user has to do: open `verification_uri`, and type `user_code` there."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str
    device_code: str
    interval_seconds: int
    ends_at: float


class Application:
    """A public application of the relay, by its id. `issuer`: the control plane's address."""

    def __init__(self, issuer: str, client_id: str, http_client: httpx2.Client | None = None) -> None:
        self._issuer = issuer.rstrip("/")
        self._client_id = client_id
        self._http = http_client

    def device_code(self, scope: str = "inference account offline_access") -> DeviceCode:
        """Asks for a code to show. Raises SignInFailed and Unreachable."""
        return self._read(_device_code_of, "/oauth/device", scope=scope)

    def wait_for(self, code: DeviceCode, sleep: Callable[[float], None] = time.sleep) -> Tokens:
        """Until the user has said yes. Raises SignInFailed where they said no or waited too long."""
        interval = code.interval_seconds
        while time.monotonic() < code.ends_at:
            sleep(interval)
            try:
                return self._tokens(grant_type=DEVICE_GRANT, device_code=code.device_code)
            except SignInFailed as refused:
                if refused.code == "slow_down":
                    interval += _SLOW_DOWN_SECONDS
                elif refused.code != "authorization_pending":
                    raise
            except Unreachable:
                interval += _SLOW_DOWN_SECONDS  # RFC 8628 section 3.5: less often
        raise SignInFailed("expired_token", "Nobody said yes in time. Begin again.")

    def refresh(self, refresh_token: str) -> Tokens:
        """The next pair; the one before is spent. Raises SignInFailed and Unreachable."""
        return self._tokens(grant_type="refresh_token", refresh_token=refresh_token)

    def revoke(self, token: str) -> None:
        """Ends a token, and with a refresh token everything that came of the same sign-in."""
        self._post("/oauth/revoke", token=token)

    def _tokens(self, **form: str) -> Tokens:
        return self._read(_tokens_of, "/oauth/token", **form)

    def _read(self, make: Callable[[Mapping[str, Any]], _Read], path: str, **form: str) -> _Read:
        said = self._post(path, **form)
        try:
            return make(said)
        except (KeyError, TypeError, ValueError) as error:
            raise SignInFailed(
                "invalid_answer", f"{self._issuer}{path} answered something else. Is it the control plane's address?"
            ) from error

    def _post(self, path: str, **form: str) -> dict[str, Any]:
        with nullcontext(self._http) if self._http else httpx2.Client(timeout=_TIMEOUT_SECONDS) as http:
            try:
                answer = http.post(f"{self._issuer}{path}", data={"client_id": self._client_id, **form})
            except httpx2.RequestError as error:
                raise unreachable(error) from error
        try:
            said = answer.json()
        except ValueError:
            said = None
        document = said if isinstance(said, dict) else {}
        if answer.status_code >= 400:
            code = str(document.get("error", f"http_{answer.status_code}"))
            raise SignInFailed(code, str(document.get("error_description") or document.get("message") or code))
        return document


class UserTokens:
    """A token provider that renews. `save` is given each new pair, before it is used; `load` reads what was saved last,
    and `lock` is held meanwhile, for programs of several processes (`relay_sdk.cli` keeps them in a file)."""

    def __init__(
        self,
        application: Application,
        tokens: Tokens,
        *,
        save: Callable[[Tokens], None] = lambda _tokens: None,
        load: Callable[[], Tokens | None] = lambda: None,
        lock: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._application = application
        self._tokens = tokens
        self._save, self._load, self._lock_of_all = save, load, lock
        self._lock = threading.Lock()

    def at_hand(self, refused: str | None = None) -> str | None:
        """The token, where it needs no renewing. Returns at once."""
        tokens = self._tokens
        return tokens.access_token if _is_good(tokens, refused) else None

    def __call__(self, *, refused: str | None = None) -> str:
        """Waits while it renews. Raises SignInFailed where the user has to sign in again."""
        with self._lock:
            if _is_good(self._tokens, refused):
                return self._tokens.access_token
            with self._lock_of_all():
                self._tokens = self._load() or self._tokens  # another process may have renewed it
                if not _is_good(self._tokens, refused):
                    self._renew()
            return self._tokens.access_token

    def _renew(self) -> None:
        if not self._tokens.refresh_token:
            raise SignInFailed("invalid_grant", "The token has ended and cannot be renewed. Sign in again.")
        self._tokens = self._application.refresh(self._tokens.refresh_token)
        self._save(self._tokens)


def _device_code_of(said: Mapping[str, Any]) -> DeviceCode:
    return DeviceCode(
        user_code=said["user_code"],
        verification_uri=said["verification_uri"],
        verification_uri_complete=said.get("verification_uri_complete", said["verification_uri"]),
        device_code=said["device_code"],
        interval_seconds=int(said.get("interval", _SLOW_DOWN_SECONDS)),
        ends_at=time.monotonic() + float(said["expires_in"]),
    )


def _tokens_of(said: Mapping[str, Any]) -> Tokens:
    return Tokens(said["access_token"], said.get("refresh_token", ""), time.time() + float(said["expires_in"]))


def _is_good(tokens: Tokens, refused: str | None) -> bool:
    return tokens.access_token != refused and tokens.ends_at - EARLY_SECONDS > time.time()
