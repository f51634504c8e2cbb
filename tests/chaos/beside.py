"""Callers of sync and stream targets beside the queued calls. Theirs may fail: what is checked is what they leave.

They send no key and try nothing again, so each call is one request at the most, which its target sees once at the most.
"""

import asyncio
from collections import Counter

import aiohttp

PAUSE_SECONDS = 0.02
ANSWER_SECONDS = 20.0


class Beside:
    """Calls each of the URLs, one after the other, with so many callers each."""

    def __init__(self, urls: list[str], relay_key: str, callers: int) -> None:
        self._urls = urls * callers
        self._headers = {"Authorization": f"Bearer {relay_key}", "Content-Type": "application/json"}
        self.ends: Counter[str] = Counter()

    async def call_while(self, others: "asyncio.Task[None]") -> None:
        """Until the others are done. Raises what they raised."""
        async with (
            aiohttp.ClientSession(
                headers=self._headers, timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)
            ) as session,
            asyncio.TaskGroup() as callers,
        ):
            for url in self._urls:
                callers.create_task(self._call(session, url, others))
        await others

    async def _call(self, session: aiohttp.ClientSession, url: str, others: "asyncio.Task[None]") -> None:
        while not others.done():
            try:
                async with session.post(url, data=b"{}") as answer:
                    await answer.read()
                    self.ends[str(answer.status)] += 1
            except (aiohttp.ClientError, TimeoutError) as error:
                self.ends[type(error).__name__] += 1
            await asyncio.sleep(PAUSE_SECONDS)
