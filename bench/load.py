"""The load generator: a fixed count of POSTs over keep-alive connections, each sending its next call when its last is
answered. About 6 us of CPU a call, so that the edge is the slower side. A plan with a pace sends at that pace instead,
whatever became of the calls before, and counts a call's time from the moment that was due.

`python -m bench.load` says `ready`, reads one `Plan` as a line of JSON and writes one `Outcome` as a line of JSON. A
plan that holds prints it when every stream has its first byte, keeps them open until its input ends, and then prints
how many the other side cut meanwhile.

Every answer is checked: its status, that it was complete, and its size (of a stream: that it ends with [DONE]).
"""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop

READY = "ready"
_DONE = b"data: [DONE]\n\n"
_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. `ramp_seconds` spreads the first calls of the connections, so that streams do not tick together."""

    url: str
    headers: dict[str, str]
    body: str
    connections: int
    count: int
    expected_status: int = 200
    ramp_seconds: float = 0.0
    per_second: float = 0.0  # 0: as fast as the answers come
    deadline_seconds: float = 60.0
    hold: bool = False  # wait for the first byte only, and keep the connections open
    bearers: list[str] = field(default_factory=list)  # shown in turn, beside the headers
    collect: str = ""  # name of a text field of the JSON answer to collect, e.g. "requestId"


@dataclass(slots=True)
class Outcome:
    """What came back. Latencies run from the write of a call to the end, or the first byte, of its answer's body."""

    completed: int = 0
    unfinished: int = 0
    seconds: float = 0.0
    total_ms: dict[str, float] = field(default_factory=dict)
    first_byte_ms: dict[str, float] = field(default_factory=dict)
    body_bytes: dict[str, int] = field(default_factory=dict)  # size of an answer's body -> how many had it
    failures: dict[str, int] = field(default_factory=dict)
    collected: list[str] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)  # of each that was collected, by the machine's monotonic clock
    answered_at: list[float] = field(default_factory=list)

    def forget_calls(self) -> None:
        """Single calls were looked at; thousands of ids are no result."""
        for calls in (self.collected, self.sent_at, self.answered_at):
            calls.clear()


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p90, p95, p99 and the largest, in milliseconds; empty for an empty list."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    at = {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in _SHARES.items()}
    return {name: round(value * 1000, 3) for name, value in at.items()} | {"max": round(ordered[-1] * 1000, 3)}


_SHARES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


class Run:
    """The state that the connections of one plan share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        address = urlsplit(plan.url)
        self.host, self.port = address.hostname or "", address.port or 80
        body = plan.body.encode()
        lines = [f"POST {address.path} HTTP/1.1", f"host: {address.netloc}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in plan.headers.items()]
        shown = [[*lines, f"authorization: Bearer {bearer}"] for bearer in plan.bearers] or [lines]
        self.calls = cycle(["\r\n".join(each).encode() + b"\r\n\r\n" + body for each in shown])
        self.is_stream = '"stream":true' in plan.body
        self.left = plan.count
        self.open = 0
        self.cut = 0
        self.totals: list[float] = []
        self.first_bytes: list[float] = []
        self.sizes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.collected: list[str] = []
        self.sent_at: list[float] = []
        self.answered_at: list[float] = []
        self.finished = asyncio.Event()
        self.idle: list[Caller] = []  # of a paced run: who can take the next call
        self.overdue: deque[float] = deque()  # calls that nobody could take at their time
        self._connecting: set[asyncio.Task[None]] = set()

    async def go(self) -> Outcome:
        """Send everything, or what the deadline allows."""
        asyncio.get_running_loop().set_exception_handler(self._broken)
        started = time.perf_counter()
        pending: list[asyncio.Task[None]] = []
        pause = self.plan.ramp_seconds / self.plan.connections
        try:
            async with asyncio.timeout(self.plan.deadline_seconds):
                for _ in range(min(self.plan.connections, self.plan.count)):
                    pending.append(asyncio.create_task(self.connect()))
                    if pause:
                        await asyncio.sleep(pause)
                await asyncio.gather(*pending)
                if self.plan.per_second:
                    await self._pace(self.plan.per_second)
                await self.finished.wait()
        except TimeoutError:
            self.failures["deadline of the load generator"] += 1
        answered = len(self.first_bytes if self.plan.hold else self.totals)
        return Outcome(
            completed=answered,
            unfinished=self.plan.count - answered,
            seconds=round(time.perf_counter() - started, 4),
            total_ms=percentiles(self.totals),
            first_byte_ms=percentiles(self.first_bytes),
            body_bytes=dict(self.sizes),
            failures=dict(self.failures),
            collected=self.collected,
            sent_at=self.sent_at,
            answered_at=self.answered_at,
        )

    async def _pace(self, per_second: float) -> None:
        """Hand out calls as they fall due; the loop's timers tick in milliseconds, so a few at a time."""
        began = time.perf_counter()
        for number in range(self.plan.count):
            due = began + number / per_second
            while (now := time.perf_counter()) < due:  # noqa: ASYNC110 - a moment, no event
                await asyncio.sleep(due - now)
            if self.idle:
                self.idle.pop().send(now)
            else:
                self.overdue.append(now)

    def _broken(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error in a callback is the generator's own: end the run, which then fails for what is unfinished."""
        self.failures[f"the load generator failed: {context.get('exception') or context['message']!r}"] += 1
        self.finished.set()

    async def connect(self) -> None:
        """Open a connection, which sends by itself from then on."""
        try:
            await asyncio.get_running_loop().create_connection(lambda: Caller(self), self.host, self.port)
        except OSError as error:
            self.fail(f"cannot connect: {error}")

    def reconnect(self) -> None:
        """Go on with a new connection after one that ended, while there are calls left."""
        if self.left:
            task = asyncio.create_task(self.connect())
            self._connecting.add(task)  # the loop itself keeps no reference
            task.add_done_callback(self._connecting.discard)

    def take(self) -> bool:
        """Whether there is another call to send. The last answer to come in ends the run."""
        if self.left == 0:
            return False
        self.left -= 1
        self.open += 1
        return True

    def give_back(self) -> None:
        """A call was answered, or given up."""
        self.open -= 1
        if self.open == 0 and self.left == 0:
            self.finished.set()

    def fail(self, why: str) -> None:
        """Count a failure; the kinds are bounded, since an answer's text may be among them."""
        self.failures[why if why in self.failures or len(self.failures) < 20 else "other failures"] += 1
        if self.open == 0:
            self.finished.set()


class Caller(asyncio.Protocol):
    """One connection, with one call under way at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transport: asyncio.Transport
        self._parser: Any  # httptools has no types
        self._is_waiting = False
        self._started = 0.0
        self._size = 0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in shape only
        self._go_on()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._run.fail(f"not HTTP: {error}")
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._run.fail(f"connection lost in mid-answer: {exc}" if exc else "connection closed in mid-answer")
            self._run.give_back()
            self._run.reconnect()
        elif self._run.plan.hold:
            self._run.cut += 1

    def on_body(self, body: bytes) -> None:
        if self._size == 0:
            self._run.first_bytes.append(time.perf_counter() - self._started)
            if self._run.plan.hold:
                self._is_waiting = False
                self._run.give_back()
        self._size += len(body)
        self._tail = (self._tail + body)[-_TAIL_BYTES:]

    def on_message_complete(self) -> None:
        run = self._run
        if run.plan.hold:
            self._transport.close()  # and `connection_lost` counts it as cut
            return
        status = self._parser.get_status_code()
        if status != run.plan.expected_status:
            run.fail(f"status {status}: {self._tail[:200]!r}")
        elif run.is_stream and not self._tail.endswith(_DONE):
            run.fail("a stream ended without [DONE]")
        else:
            answered = time.perf_counter()
            run.totals.append(answered - self._started)
            run.sizes[str(self._size)] += 1
            if run.plan.collect:
                run.collected.append(json.loads(self._tail)[run.plan.collect])
                run.sent_at.append(self._started)
                run.answered_at.append(answered)
        self._is_waiting = False
        is_reusable = self._parser.should_keep_alive()  # only true inside this callback
        run.give_back()
        if is_reusable:
            self._go_on()
        else:
            self._transport.close()
            run.reconnect()

    def _go_on(self) -> None:
        run = self._run
        if not run.plan.per_second:
            self.send(time.perf_counter())
        elif run.overdue:
            self.send(run.overdue.popleft())
        elif run.left:
            run.idle.append(self)
        else:
            self._transport.close()

    def send(self, started: float) -> None:
        """Make the next call; its time counts from `started`."""
        if not self._run.take():
            self._transport.close()
            return
        self._parser = httptools.HttpResponseParser(self)
        self._size = 0
        self._tail = b""
        self._is_waiting = True
        self._started = started
        self._transport.write(next(self._run.calls))


async def main() -> None:
    """The program's whole life: a plan in, an outcome out."""
    print(READY, flush=True)
    line = await asyncio.to_thread(sys.stdin.readline)
    plan = Plan(**json.loads(line))
    run = Run(plan)
    print(json.dumps(asdict(await run.go())), flush=True)
    if plan.hold:
        await asyncio.to_thread(sys.stdin.read)
        print(json.dumps(run.cut), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
