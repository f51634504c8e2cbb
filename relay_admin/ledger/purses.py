"""Purses in Redis for whoever is no caller: what is taken from a prepaid account is taken from its purse first, so that
it cannot be spent twice. The row that follows names the generation it was taken under; without one, when the process
dies between the two, the close of that generation gives it back.
"""

from dataclasses import dataclass

from relay_admin.ledger.models import Balance
from relay_admin.redis_link import open_redis
from relay_contract.redis import keys, scripts


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
    generation = int(marker.split(b":")[0]) if marker else None
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
