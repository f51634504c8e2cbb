"""The drainer's home in a worker process: a thread of its own with one event loop (uvloop) for the process's life.

Celery's threads call in from outside. When the loop dies of anything but being stopped the process ends at once, so
that whoever supervises it starts another; leases bring back what was in flight.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import uvloop

from delivery.claims import Claims
from delivery.contents import Contents
from delivery.database import ONE_PLAN, Connection
from delivery.destinations import Destinations
from delivery.drain import RECORD_SECONDS, Drainer
from delivery.metrics import serve
from delivery.sender import Sender
from delivery.settings import Settings
from delivery.wakes import Wakes
from relay_contract.sealing import Sealer

logger = logging.getLogger(__name__)

START_SECONDS = 30.0
EXIT_STATUS = 70  # EX_SOFTWARE, sysexits.h
RESOLVER_THREADS = 32
"""Names are resolved in threads: a slow name server of one target must not hold up the names of all others."""


class Resident:
    """One per process. All methods may be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ready: Future[tuple[asyncio.AbstractEventLoop, Drainer]] = Future()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._lock:
            if self._thread is None:
                # A daemon: it must not keep a process alive whose main thread has ended.
                self._thread = threading.Thread(target=self._live, name="drainer", daemon=True)
                self._thread.start()

    def drain(self, shard: int) -> None:
        """Have the shard drained, and return when nothing of it is due or in flight, or at shutdown."""
        self.start()
        loop, drainer = self._ready.result(START_SECONDS)
        if not loop.is_closed():  # as at the very end of a shutdown: what is due is another worker's now
            asyncio.run_coroutine_threadsafe(drainer.drain(shard), loop).result()

    def stop(self) -> None:
        """Ask for the end: nothing more is claimed. Returns at once, so a signal handler may call it."""
        if self._ready.done() and not self._ready.exception():
            loop, drainer = self._ready.result()
            if not loop.is_closed():
                loop.call_soon_threadsafe(drainer.stop)

    def join(self) -> None:
        """Wait for the end asked for by `stop`: the grace for what is in flight, and a little to record it."""
        self.stop()
        if self._thread is not None:
            self._thread.join(self._settings.grace_seconds + RECORD_SECONDS + 1)

    def _live(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._run())
        except BaseException:
            logger.critical("drainer_died", exc_info=True)
            # Not sys.exit, which ends this thread alone and leaves a worker that takes wake-ups and does nothing.
            os._exit(EXIT_STATUS)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver"))
        async with open_drainer(self._settings) as drainer:
            self._ready.set_result((loop, drainer))
            await drainer.run(self._settings.grace_seconds)


@asynccontextmanager
async def open_drainer(settings: Settings) -> AsyncIterator[Drainer]:
    """A drainer with its connections, and the metrics page if there is to be one. Raises OSError for a taken port."""
    async with AsyncExitStack() as stack:
        url, names = settings.database_url, ("record", "scan", "pace")
        claim = Connection(url, "claim", ONE_PLAN)
        connections = [claim, *(Connection(url, name) for name in names)]
        for connection in connections:
            stack.push_async_callback(connection.close)
        wakes = Wakes(settings.redis_url)
        stack.push_async_callback(wakes.close)
        sender = Sender(settings.egress_allow)
        stack.push_async_callback(sender.close)
        drainer = Drainer(
            claims=Claims(claim, Destinations(Sealer(*settings.master_keys), claim), Contents(claim)),
            sender=sender,
            wakes=wakes,
            record_connection=connections[1],
            scan_connection=connections[2],
            pace_connection=connections[3],
            in_flight=settings.in_flight,
            in_flight_per_target=settings.in_flight_per_target,
        )
        if settings.metrics_port:
            await stack.enter_async_context(await serve(settings.metrics_port, drainer))
        yield drainer
