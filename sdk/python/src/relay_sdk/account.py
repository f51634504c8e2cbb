"""What is the caller's at the control plane: balance, usage, calls.

A user's token needs the scope `account`, and a relay key the scope `control` for all but its own balance. Amounts are
micro-credits: 1,000,000 are one credit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from relay_sdk import calls
from relay_sdk.tokens import Bearer

if TYPE_CHECKING:
    from relay_sdk.async_client import AsyncRelay

MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Wallet:
    """`available`: the balance less what is held for calls on their way. `mode`: `live` or `test`."""

    id: int
    mode: str
    balance: int
    held: int
    available: int

    @property
    def credits(self) -> float:
        """What is available, in credits: to be shown, not to be reckoned with."""
        return self.available / MICRO


class NoWallet(LookupError):
    """There is no wallet of this mode that the bearer may see."""


class _Asks(Protocol):
    control_url: str | None
    auth: Bearer

    def get(self, url: str, **params: str | int | bool | None) -> Any: ...

    def change(self, method: str, url: str, document: calls.Json = None) -> Any: ...


class Account:
    """Of `Relay.account`. Everything raises ApiError and Unreachable."""

    def __init__(self, relay: _Asks) -> None:
        self._relay = relay
        self._api = api_of(relay.control_url)

    def balance(self, *, project: str | None = None, mode: str | None = None) -> Wallet:
        """The wallet that a relay key's calls have to be paid from; with a user's token the user's own, or a
        project's. `mode`: of a user's or project's wallet, `live` unless said. Raises NoWallet, also for a key whose
        project pays afterwards."""
        path, params = question(self._relay.auth, project, mode)
        return wallet_in(self._relay.get(f"{self._api}/{path}", **params))

    def usage(self, *, by: str = "model", **filters: str | int | bool | None) -> list[dict[str, Any]]:
        """Sums of the last thirty days by `model`, `key`, `app` or `user`; filters are those of
        `GET /api/v1/usage/summary`; the caller's own calls unless a `project` is named. Micro-credits."""
        return list(_rows(self._relay, f"{self._api}/usage/summary", **_own(filters), by=by))

    def calls(self, **filters: str | int | bool | None) -> Iterator[dict[str, Any]]:
        """Calls to models, newest first, page by page; filters are those of `GET /api/v1/calls`."""
        return _rows(self._relay, f"{self._api}/calls", **filters)

    def requests(self, **filters: str | int | bool | None) -> Iterator[dict[str, Any]]:
        """Calls to endpoints, newest first, page by page; filters are those of `GET /api/v1/requests`."""
        return _rows(self._relay, f"{self._api}/requests", **filters)


class AsyncAccount:
    """Of `AsyncRelay.account`."""

    def __init__(self, relay: AsyncRelay) -> None:
        self._relay = relay
        self._api = api_of(relay.control_url)

    async def balance(self, *, project: str | None = None, mode: str | None = None) -> Wallet:
        """As `Account.balance`."""
        path, params = question(self._relay.auth, project, mode)
        return wallet_in(await self._relay.get(f"{self._api}/{path}", **params))

    async def usage(self, *, by: str = "model", **filters: str | int | bool | None) -> list[dict[str, Any]]:
        """As `Account.usage`."""
        return [row async for row in self._rows("usage/summary", **_own(filters), by=by)]

    def calls(self, **filters: str | int | bool | None) -> AsyncIterator[dict[str, Any]]:
        """As `Account.calls`."""
        return self._rows("calls", **filters)

    def requests(self, **filters: str | int | bool | None) -> AsyncIterator[dict[str, Any]]:
        """As `Account.requests`."""
        return self._rows("requests", **filters)

    async def _rows(self, path: str, **params: str | int | bool | None) -> AsyncIterator[dict[str, Any]]:
        after: Any = None
        while True:
            page = await self._relay.get(f"{self._api}/{path}", **{**params, "after": after})
            for row in page["results"]:
                yield row
            if (after := page.get("next")) is None:
                return


def api_of(control_url: str | None) -> str:
    """Raises ValueError where nobody said where the control plane is."""
    if control_url is None:
        raise ValueError("Say where the control plane is: `control_url=...`, or RELAY_CONTROL_URL.")
    return f"{control_url}/api/v1"


def question(auth: Bearer, project: str | None, mode: str | None) -> tuple[str, dict[str, str | int | bool | None]]:
    """Path and parameters that ask for a wallet."""
    if auth.is_relay_key and project is None and mode is None:
        return "relay-keys/self", {}
    return "wallets", {"project": project, "mode": mode or "live", "limit": 1}


def wallet_in(answer: Any) -> Wallet:
    """Of either answer. Raises NoWallet."""
    found = answer["wallet"] if "wallet" in answer else next(iter(answer["results"]), None)
    if found is None:
        raise NoWallet("There is none that has to pay this key's calls beforehand, or none that this bearer may see.")
    return Wallet(**{name: found[name] for name in Wallet.__slots__})


def _own(filters: dict[str, str | int | bool | None]) -> dict[str, str | int | bool | None]:
    return filters if filters.get("project") else {"mine": True, **filters}


def _rows(relay: _Asks, url: str, **params: str | int | bool | None) -> Iterator[dict[str, Any]]:
    after: Any = None
    while True:
        page = relay.get(url, **{**params, "after": after})
        yield from page["results"]
        if (after := page.get("next")) is None:
            return
