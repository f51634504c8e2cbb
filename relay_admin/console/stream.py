"""A call of the test console as lines of JSON, each as soon as it is there: a thread works, the event loop sends.

Bounded: so many calls at once in this process, so many of one person, and so many events that wait for a slow browser,
beyond which the thread reads no further. Whoever leaves ends the call. State lives in the event loop's thread.
"""

import asyncio
import json
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from relay_admin.console.call import ConsoleCall, Event, Tell

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 8
MOST_OF_ONE = 2
MOST_WAITING = 256
_LOOK_SECONDS = 0.5

_threads = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="console")
_running: Counter[int] = Counter()


async def lines(call: ConsoleCall) -> AsyncIterator[bytes]:
    """Newline-delimited JSON of `call.Event`. Closing it stops the call."""
    user_id = call.user.pk
    if _running.total() >= MOST_AT_ONCE or _running[user_id] >= MOST_OF_ONE:
        yield _line({"kind": "problem", "text": "Too many calls are being watched. End one, or wait for its end."})
        return
    loop, told = asyncio.get_running_loop(), asyncio.Queue[Event | None]()
    room = threading.Semaphore(MOST_WAITING)

    def tell(event: Event) -> None:
        while not room.acquire(timeout=_LOOK_SECONDS):
            if call.is_stopped:
                return
        loop.call_soon_threadsafe(told.put_nowait, event)

    def ended(work: asyncio.Future[None]) -> None:
        _running[user_id] -= 1
        if (error := work.exception()) is not None:
            logger.error("console_call_failed", exc_info=error)
            told.put_nowait({"kind": "problem", "text": "The control plane failed on this call. Its log says why."})
        told.put_nowait(None)

    _running[user_id] += 1
    loop.run_in_executor(_threads, _work, call, tell).add_done_callback(ended)
    try:
        while (event := await told.get()) is not None:
            room.release()
            yield _line(event)
    finally:
        call.stop()


def _work(call: ConsoleCall, tell: Tell) -> None:
    try:
        call.run(tell)
    finally:
        connection.close()  # this thread's own, back to the pool


def _line(event: Event) -> bytes:
    return json.dumps(event).encode() + b"\n"
