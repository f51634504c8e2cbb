"""Callers who mean it: each call has an Idempotency-Key, and is made again until it is answered 202.

A call that is refused with 503, or whose connection breaks, promised nothing; sent again with its key it is the same
call, whatever became of the first try.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import aiohttp

PAUSE_SECONDS = 0.05
ANSWER_SECONDS = 30.0
LIVE_SECONDS = 60.0
LIVE_CALLS = 12
"""Of new connections, all accepted: every edge process has heard of the endpoint, most likely."""


@dataclass(slots=True)
class Acknowledged:
    """What callers were promised."""

    ids: dict[str, str] = field(default_factory=dict)  # Idempotency-Key -> requestId of its 202
    again: Counter[str] = field(default_factory=Counter)  # why calls had to be made again
    wrong: list[str] = field(default_factory=list)  # answers that no call may get, and keys with two ids


class Traffic:
    """Calls one endpoint. `on_acknowledged` is awaited with the count, beside the other callers."""

    def __init__(
        self, url: str, relay_key: str, concurrency: int, on_acknowledged: Callable[[int], Awaitable[None]]
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {relay_key}", "Content-Type": "application/json"}
        self._concurrency = concurrency
        self._on_acknowledged = on_acknowledged
        self._is_live = False
        self.said = Acknowledged()

    async def begin(self) -> None:
        """Returns when the endpoint is live, with a few calls accepted. Raises AssertionError."""
        deadline = time.monotonic() + LIVE_SECONDS
        while sum(key.startswith("first") for key in self.said.ids) < LIVE_CALLS:
            assert time.monotonic() < deadline, f"the endpoint is not live: {self.said.again}"
            key = f"first-{len(self.said.ids)}"
            async with aiohttp.ClientSession(headers=self._headers) as session:
                request_id = await self._call(session, key)
            if request_id is None:
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self.said.ids[key] = request_id
        self._is_live = True

    async def call_all(self, keys: list[str], seconds: float) -> None:
        """Every key until it is acknowledged. Raises AssertionError when some are not in time."""
        left = iter(keys)
        async with aiohttp.ClientSession(
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            connector=aiohttp.TCPConnector(limit=0),
        ) as session:
            try:
                async with asyncio.timeout(seconds), asyncio.TaskGroup() as callers:
                    for _ in range(self._concurrency):
                        callers.create_task(self._call_next(session, left))
            except TimeoutError:
                missing = sum(key not in self.said.ids for key in keys)
                raise AssertionError(f"{missing} calls were not accepted in {seconds:g} s: {self.said.again}") from None

    async def _call_next(self, session: aiohttp.ClientSession, left: Iterator[str]) -> None:
        for key in left:
            while (request_id := await self._call(session, key)) is None:  # noqa: ASYNC110 - a back-off, no event
                await asyncio.sleep(PAUSE_SECONDS)
            first = self.said.ids.setdefault(key, request_id)
            if first != request_id:
                self.said.wrong.append(f"key {key} was answered {first} and then {request_id}")
            await self._on_acknowledged(len(self.said.ids))

    async def _call(self, session: aiohttp.ClientSession, key: str) -> str | None:
        """The id of an accepted call; None: to be made again."""
        try:
            async with session.post(self._url, json={"key": key}, headers={"Idempotency-Key": key}) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.said.again[type(error).__name__] += 1
            return None
        if answer.status == 202:
            return str(json.loads(text)["requestId"])
        self.said.again[f"{answer.status} {json.loads(text)['error']}"] += 1
        if answer.status != 503 and (self._is_live or answer.status not in {401, 404}):
            self.said.wrong.append(f"key {key} was answered {answer.status} {text[:200]}")
        return None
