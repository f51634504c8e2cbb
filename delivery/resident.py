"""The drainer's home in a worker process: a thread of its own with one event loop (uvloop) for the process's life.

Celery's threads call in from outside. When the loop dies of anything but being stopped the process ends at once, so
that whoever supervises it starts another; leases bring back what was in flight.
"""

import asyncio
import gc
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, NoReturn

import uvloop

from delivery import compare, ledger_fold, metrics, stream_ends
from delivery.alerts import Alerts
from delivery.claims import Claims
from delivery.contents import Contents
from delivery.database import ONE_PLAN, PLANNED_ONCE, Connection
from delivery.destinations import Destinations
from delivery.drain import RECORD_SECONDS, Drainer
from delivery.ledger_keeper import Keeper
from delivery.ledger_poster import POSTERS, Posters
from delivery.metrics import serve
from delivery.purse_writes import PurseWrites
from delivery.replay_runner import ReplayRunner
from delivery.reply_channel import ReplyChannel
from delivery.rounds import make_rounds
from delivery.sender import Sender
from delivery.settings import ASYNC, SYNC, Settings
from delivery.sync_answers import Answers
from delivery.sync_claims import SyncClaims
from delivery.sync_lane import SyncLane
from delivery.wakes import Wakes
from relay_contract.ending import end
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
        self._ready: Future[tuple[asyncio.AbstractEventLoop, Lanes]] = Future()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._lock:
            if self._thread is None:
                # A daemon: it must not keep a process alive whose main thread has ended.
                self._thread = threading.Thread(target=self._live, name="drainer", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Until its lanes are open, START_SECONDS at most."""
        wait([self._ready], START_SECONDS)

    def drain(self, shard: int) -> None:
        """Have the shard drained, and return when nothing of it is due or in flight, or at shutdown."""
        self.start()
        loop, lanes = self._ready.result(START_SECONDS)
        # A closed one is that of the very end of a shutdown: what is due is another worker's now.
        if lanes.drainer is not None and not loop.is_closed():
            asyncio.run_coroutine_threadsafe(lanes.drainer.drain(shard), loop).result()

    def stop(self) -> None:
        """Ask for the end: nothing more is claimed. Returns at once, so a signal handler may call it."""
        if self._ready.done() and not self._ready.exception():
            loop, lanes = self._ready.result()
            if not loop.is_closed():
                loop.call_soon_threadsafe(lanes.stop)

    def join(self) -> None:
        """Wait for the end asked for by `stop`: the grace for what is in flight, and a little to record it."""
        self.stop()
        if self._thread is not None:
            self._thread.join(self._settings.grace_seconds + RECORD_SECONDS + 1)

    def _live(self) -> None:
        _spare_collections()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._run())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the process must not go on without it
            _die(error)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver"))
        async with open_lanes(self._settings) as lanes:
            self._ready.set_result((loop, lanes))
            try:
                await lanes.run(self._settings.grace_seconds)
            except Exception as error:  # noqa: BLE001 - before anybody waits for what is left of it
                _die(error)


def _spare_collections() -> None:
    """What is loaded by now stays. Else each full collection walks it, Django and Celery with it: 80 ms of processor in
    which nothing is delivered."""
    gc.set_threshold(20_000, 20, 50)  # deliveries leave few cycles behind
    gc.freeze()


def _die(error: BaseException) -> NoReturn:
    """Not sys.exit, which ends this thread alone and leaves a worker that takes wake-ups and does nothing."""
    logger.critical("drainer_died", exc_info=error)
    os._exit(EXIT_STATUS)


class Lanes(NamedTuple):
    """What a process delivers; at least one of them."""

    drainer: Drainer | None
    sync: SyncLane | None
    posters: Posters | None
    keeper: Keeper | None
    beside: tuple[Callable[[], Coroutine[Any, Any, None]], ...]  # what goes on as long as they do

    async def run(self, grace_seconds: float) -> None:
        """All of them until `stop`. Raises at once when one died: nobody waits for the others then."""
        beside = {asyncio.create_task(work()) for work in self.beside}
        lanes = {asyncio.create_task(lane.run(grace_seconds)) for lane in self._lanes()}
        try:
            while lanes:
                done, _ = await asyncio.wait(lanes | beside, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                lanes -= done
        finally:
            for task in lanes:
                task.cancel()
            await end(*beside)

    def stop(self) -> None:
        """Ask all of them to end."""
        for lane in self._lanes():
            lane.stop()

    def _lanes(self) -> list[Drainer | SyncLane]:
        return [lane for lane in (self.drainer, self.sync) if lane is not None]

    def page(self) -> str:
        """Their figures."""
        drained = metrics.page(self.drainer) if self.drainer is not None else ""
        posted = metrics.poster_page(self.posters) if self.posters is not None else ""
        kept = metrics.keeper_page(self.keeper) if self.keeper is not None else ""
        return drained + posted + kept + (metrics.sync_page(self.sync) if self.sync is not None else "")


@asynccontextmanager
async def open_lanes(settings: Settings) -> AsyncIterator[Lanes]:
    """What the process is to deliver, and the metrics page if there is to be one. Raises OSError for a taken port."""
    async with AsyncExitStack() as stack:
        drainer = await stack.enter_async_context(open_drainer(settings)) if ASYNC in settings.lanes else None
        sync = await stack.enter_async_context(open_sync_lane(settings)) if SYNC in settings.lanes else None
        lanes = Lanes(drainer, sync, None, None, ())
        if drainer is not None:
            lanes = Lanes(drainer, sync, *await stack.enter_async_context(open_beside(settings, drainer)))
        if settings.metrics_port:
            await stack.enter_async_context(await serve(settings.metrics_port, lanes.page))
        yield lanes


@asynccontextmanager
async def open_drainer(settings: Settings) -> AsyncIterator[Drainer]:
    """A drainer with its connections."""
    async with AsyncExitStack() as stack:
        url = settings.database_url
        claim, scan = Connection(url, "claim", ONE_PLAN), Connection(url, "scan")
        record, pace = Connection(url, "record", PLANNED_ONCE), Connection(url, "pace", PLANNED_ONCE)
        for connection in (claim, record, scan, pace):
            stack.push_async_callback(connection.close)
        wakes = Wakes(settings.redis_url)
        stack.push_async_callback(wakes.close)
        sender = Sender(settings.egress_allow)
        stack.push_async_callback(sender.close)
        drainer = Drainer(
            claims=Claims(claim, Destinations(Sealer(*settings.master_keys), claim), Contents(claim)),
            sender=sender,
            wakes=wakes,
            record_connection=record,
            scan_connection=scan,
            pace_connection=pace,
            in_flight=settings.in_flight,
            in_flight_per_target=settings.in_flight_per_target,
        )
        yield drainer


@asynccontextmanager
async def open_beside(
    settings: Settings, drainer: Drainer
) -> AsyncIterator[tuple[Posters, Keeper, tuple[Callable[[], Coroutine[Any, Any, None]], ...]]]:
    """What a worker of the async lane does besides, each on a connection of its own."""
    async with AsyncExitStack() as stack:
        round_, alerts, keep = [Connection(settings.database_url, name) for name in ("rounds", "alerts", "keeper")]
        replay = Connection(settings.database_url, "replay", PLANNED_ONCE)
        post = [Connection(settings.database_url, "post", PLANNED_ONCE) for _ in range(POSTERS)]
        for connection in (round_, alerts, keep, replay, *post):
            stack.push_async_callback(connection.close)
        writes = PurseWrites(settings.redis_url)
        stack.push_async_callback(writes.close)
        posters, keeper = Posters(*post), Keeper(keep, writes)
        yield (
            posters,
            keeper,
            (
                partial(make_rounds, round_, (stream_ends.fold, compare.compare_due, ledger_fold.fold)),
                Alerts(alerts).run,
                ReplayRunner(replay, writes, drainer.activate).run,
                posters.run,
                keeper.run,
            ),
        )


@asynccontextmanager
async def open_sync_lane(settings: Settings) -> AsyncIterator[SyncLane]:
    """The lane of sync deliveries with connections of its own, so that no backlog of others is before it."""
    async with AsyncExitStack() as stack:
        claim, record = [
            Connection(settings.database_url, name, PLANNED_ONCE) for name in ("sync-claim", "sync-record")
        ]
        answers, sweep = [Connection(settings.database_url, name) for name in ("sync-answers", "sync-sweep")]
        for connection in (claim, record, answers, sweep):
            stack.push_async_callback(connection.close)
        channel = ReplyChannel(settings.redis_url)
        stack.push_async_callback(channel.close)
        sender = Sender(settings.egress_allow)
        stack.push_async_callback(sender.close)
        yield SyncLane(
            claims=SyncClaims(claim, Destinations(Sealer(*settings.master_keys), claim), Contents(claim)),
            sender=sender,
            answers=Answers(answers),
            channel=channel,
            record_connection=record,
            sweep_connection=sweep,
            in_flight=settings.sync_in_flight,
        )
