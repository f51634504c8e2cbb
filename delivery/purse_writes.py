"""The purses in Redis as workers read and write them (`keys.purse`). All methods raise RedisError and OSError."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from delivery.generations import Beat, Marker, Parts, parts_of
from delivery.redis_client import connect
from relay_contract.redis import keys, scripts

TIMEOUT_SECONDS = 5.0
BATCH = 500
"""Purses of one pipeline or script."""
SEEDING_SECONDS = 60
_DROPPED = ("", "", "", "")


class Overtaken(Exception):
    """Another makes the purses anew, or money is open already."""


class MoneyClosed(Exception):
    """No purse pays now: nobody knows what they have."""


class PurseWrites:
    """Call from the event loop it was made on."""

    def __init__(self, redis_url: str) -> None:
        self._redis = connect(redis_url, TIMEOUT_SECONDS)
        self._fund, self._free, self._seed, self._turn, self._take, self._take_some = (
            self._redis.register_script(script.text)
            for script in (
                scripts.FUND,
                scripts.FREE,
                scripts.SEED,
                scripts.TURN,
                scripts.TAKE,
                scripts.TAKE_SOME,
            )
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def marker(self) -> tuple[bytes | None, str]:
        """What MONEY says, and the run id of the server that says so."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.execute_command("GET", keys.MONEY)
            pipe.execute_command("INFO", "server")
            marker, server = await pipe.execute()
        return marker, server["run_id"]

    async def turn(self, old: bytes, new: bytes) -> bool:
        """Change the marker; without `new` it is deleted. False: it was something else."""
        return bool(await self._turn(keys=[keys.MONEY], args=[old, new]))

    async def fund(self, page: Sequence[tuple[Any, ...]]) -> None:
        """Tell purses, by rows of `purse_sql.CHANGED`."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for account, version, closed, granted in page:
                await self._fund(keys=[keys.purse("w", str(account))], args=[version, granted, closed], client=pipe)
            await pipe.execute()

    async def free(self, closed: Mapping[str, int]) -> None:
        """Give back what was held in budgets under generations that are closed."""
        if closed:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key, generation in closed.items():
                    await self._free(keys=[key], args=[generation], client=pipe)
                await pipe.execute()

    async def take_some(self, account: int, prices: Sequence[int]) -> tuple[int, int]:
        """Spend the sum of as many of these as a purse has enough for: the generation and that sum. Raises
        MoneyClosed."""
        generation, amount = await self._take_some(keys=[keys.MONEY, keys.purse("w", str(account))], args=prices)
        if generation < 0:
            raise MoneyClosed
        return generation, amount

    async def give_back(self, account: int, amount: int, generation: int) -> None:
        """What was taken and came to nothing."""
        await self._take(keys=[keys.MONEY, keys.purse("w", str(account))], args=[-amount, generation])

    async def purses(self) -> dict[str, Parts]:
        """What all purses hold and spent, by key; without those that have no part of any generation."""
        found: dict[str, Parts] = {}
        names = [name async for name in self._redis.scan_iter(match=keys.purse("*", "*"), count=1000)]
        for batch in _batches(names):
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in batch:
                    pipe.execute_command("HGETALL", name)
                for name, fields in zip(batch, await pipe.execute(), strict=True):
                    if parts := parts_of(fields):
                        found[name.decode()] = parts
        return found

    async def edges(self, processes: Collection[str]) -> tuple[set[str], float]:
        """Which of the edge processes live, and for how many seconds one of them keeps rows to itself at most. Those
        that do not live and are not asked for are forgotten."""
        members: set[bytes] = await self._redis.smembers(keys.EDGES)  # type: ignore[assignment]
        known = {name.decode() for name in members}
        living = await self._beats(known | set(processes))
        if gone := known - living.keys() - set(processes):
            await self._redis.srem(keys.EDGES, *gone)
        return set(living), max((beat.unwritten for beat in living.values()), default=0.0)

    async def beats(self) -> list[Beat]:
        """Of all edge processes that live."""
        members: set[bytes] = await self._redis.smembers(keys.EDGES)  # type: ignore[assignment]
        return list((await self._beats({name.decode() for name in members})).values())

    async def _beats(self, names: Collection[str]) -> dict[str, Beat]:
        asked = sorted(names)
        beats: list[Any] = await self._redis.mget([keys.alive(name) for name in asked]) if asked else []
        return {name: Beat.read(beat) for name, beat in zip(asked, beats, strict=True) if beat is not None}

    async def begin_seeding(self, token: str) -> None:
        """From now on purses are made anew under this token."""
        await self._redis.set(keys.SEEDING, token, ex=SEEDING_SECONDS)

    async def is_seeding(self, token: str) -> bool:
        """Whether that still holds; if so, for longer."""
        return bool(
            await self._redis.get(keys.SEEDING) == token.encode()
            and await self._redis.expire(keys.SEEDING, SEEDING_SECONDS)
        )

    async def drop_purses(self, token: str) -> None:
        """All there are. Raises Overtaken, as the others that take a token."""
        names = [name async for name in self._redis.scan_iter(match=keys.purse("*", "*"), count=1000)]
        await self._make(token, [(name, _DROPPED) for name in names])

    async def seed_wallets(self, token: str, page: Sequence[tuple[Any, ...]]) -> None:
        """By rows of `purse_sql.ALL`."""
        await self._make(
            token,
            [
                (keys.purse("w", str(account)), ("granted", granted, "version", version))
                for account, version, _, granted in page
            ],
        )

    async def seed_budgets(self, token: str, used: Mapping[str, tuple[int, int]]) -> None:
        """By key: the number of the period, and what was used in it."""
        await self._make(token, [(key, ("bucket", bucket, "used", spent)) for key, (bucket, spent) in used.items()])

    async def open_money(self, token: str, marker: Marker) -> None:
        """The purses are made."""
        await self._make(token, [], str(marker))

    async def _make(self, token: str, purses: Sequence[tuple[Any, Sequence[Any]]], marker: str = "") -> None:
        for batch in _batches(purses) if purses or not marker else [[]]:
            done = await self._seed(
                keys=[keys.MONEY, keys.SEEDING, *(key for key, _ in batch)],
                args=[token, marker, *(value for _, values in batch for value in values)],
            )
            if not done:
                raise Overtaken


def _batches(items: Sequence[Any]) -> list[list[Any]]:
    rest = iter(items)
    return list(iter(lambda: list(islice(rest, BATCH)), []))
