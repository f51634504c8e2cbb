"""The loop of sync deliveries in a worker process, apart from all others: claims one as its call is announced, sends it
once, records what came of it, and gives the caller's edge the answer.

An answer is recorded before anybody hears of it, so what a caller saw is on record. It is published where its edge
listens, and else left in Postgres for it, as long as that takes within KEEP_SECONDS. Nothing here is ever sent twice:
what a worker dies with is ended by the sweep as of unknown outcome.
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from delivery import sync_answers, sync_claims
from delivery.attempt import Answer, Fault
from delivery.database import Connection, DatabaseAway, Outage
from delivery.drain import MAX_BODY_BYTES, RECORD_SECONDS
from delivery.record import Recorder, Result, result_of
from delivery.reply_channel import ReplyChannel
from delivery.sender import Sender
from delivery.sync_answers import Answers
from delivery.sync_claims import SyncClaim, SyncClaims
from relay_contract import logs
from relay_contract.ending import end
from relay_contract.replies import MAX_KEPT_BYTES, Reply

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""How often the lane looks for calls that nobody announced."""
LOOK_AGAIN_SECONDS = 0.005
"""And for those of a target whose state another worker had locked."""
SWEEP_SECONDS = 1.0
KEEP_SECONDS = 30.0
"""How long an answer is offered to a Postgres that is away."""
MAX_ANNOUNCED = 4096
"""Calls of which it is remembered whose they are. Of older ones every edge is told."""


@dataclass
class SyncFigures:
    """What the metrics page shows, since the process began."""

    in_flight: int = 0
    claims: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    unheard: int = 0  # answers that no edge took from the channel
    swept: Counter[str] = field(default_factory=Counter)


class SyncLane:
    """All methods belong to the event loop that `run` runs on."""

    def __init__(
        self,
        *,
        claims: SyncClaims,
        sender: Sender,
        answers: Answers,
        channel: ReplyChannel,
        record_connection: Connection,
        sweep_connection: Connection,
        in_flight: int,
    ) -> None:
        self._claims = claims
        self._sender = sender
        self._answers = answers
        self._channel = channel
        self._outage = Outage("sync-answers")
        self._recorder = Recorder(record_connection, self._recorded, linger_seconds=0)
        self._sweep_connection = sweep_connection
        self._slots = in_flight
        self._body_bytes = 0
        self._edges: OrderedDict[UUID, str] = OrderedDict()
        self._on_record: dict[UUID, asyncio.Future[None]] = {}
        self._sends: set[asyncio.Task[None]] = set()
        self._called = asyncio.Event()
        self._freed = asyncio.Event()
        self._stopping = asyncio.Event()
        self.figures = SyncFigures()

    @property
    def fences_lost(self) -> int:
        """Results that came after their lease had ended."""
        return self._recorder.fences_lost

    @property
    def channel_failures(self) -> int:
        """Calls that Redis did not answer."""
        return self._channel.failures

    def announce(self, request_id: UUID, edge: str) -> None:
        """An edge waits for the answer to a request that it has committed."""
        self._edges[request_id] = edge
        while len(self._edges) > MAX_ANNOUNCED:
            self._edges.popitem(last=False)
        self._called.set()

    def stop(self) -> None:
        """Claim no more; `run` ends when what is in flight is done."""
        self._stopping.set()
        self._called.set()
        self._freed.set()

    async def run(self, grace_seconds: float) -> None:
        """Work until `stop`, then finish what is in flight for up to `grace_seconds` and give up the rest.

        Raises when a loop died of something that is not an outage: the process should end and be started again.
        """
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(self._recorder.run(), name="sync-record"),
                group.create_task(self._sweep(), name="sync-sweep"),
                group.create_task(self._channel.listen(self.announce), name="sync-calls"),
            ]
            await self._claim(group)
            await self._finish(grace_seconds)
            await end(*loops)

    async def _claim(self, group: asyncio.TaskGroup) -> None:
        outage = Outage("sync-claim")
        while not self._stopping.is_set():
            self._called.clear()
            self._freed.clear()
            free = self._slots - self.figures.in_flight
            if not free:
                await self._freed.wait()
                continue
            try:
                found = await self._claims.take(free, MAX_BODY_BYTES - self._body_bytes)
                outage.is_over()
            except DatabaseAway as away:
                await asyncio.sleep(outage.goes_on(away))
                continue
            self.figures.claims += 1
            for each in found:
                self._start(each, group)
            if len(found) < free:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_SECONDS if self._claims.has_met else LOOK_SECONDS):
                        await self._called.wait()

    def _start(self, each: SyncClaim, group: asyncio.TaskGroup) -> None:
        self.figures.in_flight += 1
        self._body_bytes += each.claim.body_bytes
        task = group.create_task(self._deliver(each))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _deliver(self, each: SyncClaim) -> None:
        claim = each.claim
        logs.delivery_id.set(claim.delivery_id)
        try:
            try:
                answer = await sync_answers.mapped(claim, sync_answers.checked(await self._sender.send(claim)))
            except asyncio.CancelledError:  # once: what follows is bounded by RECORD_SECONDS
                answer = Answer(datetime.now(UTC), 0, None, Fault.WORKER_STOPPED)
            reply = sync_answers.reply_of(claim, answer, each.wait_seconds)
            if each.is_kept and reply.status and len(reply.body) <= MAX_KEPT_BYTES:
                await self._keep(each, reply, answer)
            await self._record(result_of(claim, replace(answer, whole=None), sync_answers.judge(answer), 1.0))
            await self._tell(each, reply, answer)
        finally:
            self._edges.pop(claim.request_id, None)
            self._claims.done(claim)
            self._body_bytes -= claim.body_bytes
            self.figures.in_flight -= 1
            self._freed.set()

    async def _record(self, result: Result) -> None:
        written = self._on_record[result.claim.delivery_id] = asyncio.get_running_loop().create_future()
        self._recorder.put(result)
        await written

    def _recorded(self, results: Sequence[Result]) -> None:
        for result in results:
            self.figures.outcomes[result.outcome] += 1
            if result.answer.fault is not None:
                self.figures.faults[result.answer.fault] += 1
            written = self._on_record.pop(result.claim.delivery_id)
            if not written.done():
                written.set_result(None)

    async def _tell(self, each: SyncClaim, reply: Reply, answer: Answer) -> None:
        """The edge, by whichever way is open. A failure is not kept: its caller is told so at the deadline."""
        edge = self._edges.get(reply.request_id)
        is_heard = await self._channel.publish(reply, edge)
        if is_heard and edge is not None:
            return
        self.figures.unheard += not is_heard
        if reply.status:  # where the edge is not known, it may be another one that heard it
            await self._keep(each, reply, answer)
            await self._channel.publish(reply, edge)  # for who looked before it lay there, and listens by now

    async def _keep(self, each: SyncClaim, reply: Reply, answer: Answer) -> None:
        """For an answer that is not kept the caller waits until its deadline, or asks again and is told that it may
        not."""
        ends_at = asyncio.get_running_loop().time() + KEEP_SECONDS
        while True:
            try:
                await self._answers.keep(each.claim, reply, answer.duration_ms)
            except DatabaseAway as away:
                pause = self._outage.goes_on(away)
                if asyncio.get_running_loop().time() + pause > ends_at:
                    logger.warning("answer_not_kept", extra=logs.log_fields(reason=str(away)))
                    return
                await asyncio.sleep(pause)
            else:
                self._outage.is_over()
                return

    async def _sweep(self) -> None:
        outage = Outage("sync-sweep")
        while True:
            pause = SWEEP_SECONDS
            try:
                swept = await sync_claims.sweep(self._sweep_connection)
                outage.is_over()
            except DatabaseAway as away:
                pause = outage.goes_on(away)
            else:
                self.figures.swept["unknown_outcome"] += swept.unknown
                self.figures.swept["no_answer_in_time"] += swept.untaken
            await asyncio.sleep(pause)

    async def _finish(self, grace_seconds: float) -> None:
        if self._sends:
            await asyncio.wait(self._sends, timeout=grace_seconds)
        for task in self._sends:
            task.cancel()
        if self._sends:
            await asyncio.wait(self._sends, timeout=RECORD_SECONDS)
        for task in self._sends:
            task.cancel()
        if self._sends:
            logger.error("results_unwritten", extra=logs.log_fields(deliveries=len(self._sends)))
