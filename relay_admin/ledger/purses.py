"""Purses in Redis for whoever is no caller: what is taken from a prepaid account is taken from its purse first, so that
it cannot be spent twice. The row that follows names the generation it was taken under; without one, when the process
dies between the two, the close of that generation gives it back.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from relay_admin.ledger.models import Balance
from relay_admin.redis_link import RedisAwayError, open_redis
from relay_contract.periods import Period, index
from relay_contract.redis import keys, scripts

_MARKER_COLONS = 2


class CannotPayError(Exception):
    """The purse has too little. `left`: micro-credits."""

    def __init__(self, left: int) -> None:
        super().__init__(f"{left} micro-credits are left.")
        self.left = left


class MoneyClosedError(Exception):
    """Nobody knows what purses hold: the keeper makes them anew, within seconds."""


@dataclass(frozen=True, slots=True)
class Purse:
    """What Redis believes of an account. Micro-credits."""

    account_id: int
    granted: int
    version: int
    used: int
    spent: dict[int, int]  # by generation
    held: dict[int, int]  # by generation, over all processes


def take(account_id: int, amount: int) -> int:
    """Spend it at once; the generation that its row is to name. Raises CannotPayError, MoneyClosedError,
    RedisAwayError: after the last it may be taken, until its generation is closed."""
    code, figure = _take(account_id, amount, "")
    if code < 0:
        raise MoneyClosedError
    if not code:
        raise CannotPayError(figure)
    return figure


def take_some(account_id: int, prices: Sequence[int]) -> tuple[int, int]:
    """Spend at once the sum of as many of these as it has enough for, from the first on; the generation and that sum.
    Raises MoneyClosedError, and RedisAwayError as `take`."""
    with open_redis() as client:
        run = client.register_script(scripts.TAKE_SOME.text)
        generation, amount = run(keys=[keys.MONEY, keys.purse("w", str(account_id))], args=prices)
    if generation < 0:
        raise MoneyClosedError
    return int(generation), int(amount)


def available(account_ids: Sequence[int]) -> dict[int, int]:
    """What purses may spend at the moment, as far as anybody knows: of none while money is closed or Redis is away."""
    if not account_ids:
        return {}
    with suppress(RedisAwayError), open_redis() as client, client.pipeline(transaction=False) as pipe:
        pipe.get(keys.MONEY)
        for account_id in account_ids:
            pipe.hmget(keys.purse("w", str(account_id)), "granted", "used")
        marker, *figures = pipe.execute()
        if is_open(marker):
            return {
                account_id: int(granted or 0) - int(used or 0)
                for account_id, (granted, used) in zip(account_ids, figures, strict=True)
            }
    return {}


def budget_used(owner: str, period: Period) -> int | None:
    """What counts against a budget in its period of now, with what calls in flight hold: the next call is held to that.
    `owner`: as in `keys.purse`. None: nobody knows, since money is closed or Redis is away."""
    with suppress(RedisAwayError), open_redis() as client, client.pipeline(transaction=False) as pipe:
        pipe.get(keys.MONEY)
        pipe.time()
        pipe.hmget(keys.purse("b", owner), "bucket", "used")
        marker, (seconds, _), (bucket, used) = pipe.execute()
        if is_open(marker):
            return int(used) if bucket is not None and int(bucket) == index(period, seconds * 1000) else 0
    return None


def is_open(marker: bytes | None) -> bool:
    """Whether purses pay while the marker of money says this."""
    return marker is not None and marker.count(b":") == _MARKER_COLONS


def give_back(account_id: int, amount: int, generation: int) -> None:
    """What was taken and came to nothing. Raises RedisAwayError: then it comes back when its generation is closed."""
    _take(account_id, -amount, str(generation))


def is_purse(account_id: int) -> bool:
    """Whether Redis is told of this account."""
    return Balance.objects.filter(pk=account_id, is_purse=True).exists()


def purses() -> tuple[int | None, list[Purse]]:
    """The generation that is given, None while money is closed, and the purses of all accounts. Raises
    RedisAwayError."""
    with open_redis() as client:
        marker = client.get(keys.MONEY)
        names = list(client.scan_iter(match=keys.purse("w", "*"), count=1000))
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(name)
            hashes = pipe.execute()
    assert marker is None or isinstance(marker, bytes)
    generation = int(marker.split(b":")[0]) if marker is not None and is_open(marker) else None
    return generation, [_purse(name.decode(), fields) for name, fields in zip(names, hashes, strict=True) if fields]


def _purse(key: str, fields: dict[bytes, bytes]) -> Purse:
    spent: dict[int, int] = {}
    held: dict[int, int] = {}
    for name, value in fields.items():
        kind, _, rest = name.decode().partition(":")
        if rest:
            sums, generation = (spent if kind == "spent" else held), int(rest.rpartition(":")[2])
            sums[generation] = sums.get(generation, 0) + int(value)
    granted, version, used = (int(fields.get(name, b"0")) for name in (b"granted", b"version", b"used"))
    return Purse(keys.purse_account(key) or 0, granted, version, used, spent, held)


def _take(account_id: int, amount: int, generation: str) -> tuple[int, int]:
    with open_redis() as client:
        run = client.register_script(scripts.TAKE.text)
        code, figure = run(keys=[keys.MONEY, keys.purse("w", str(account_id))], args=[amount, generation])
    return int(code), int(figure)
