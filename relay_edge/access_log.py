"""One line for each call, where RELAY_ACCESS_LOG asks for it: JSON beside the log's own lines, written in batches.
A call to a model and one to a relay endpoint:

    {"ts":"2026-11-21T12:00:00.123Z","level":"info","event":"call","process":"edge","request_id":"...",
     "relay_key_id":7,"application_id":null,"surface":"chat_completions","model":"demo-gpt","host":"vendor",
     "status":200,"error":"","attempts":1,"input_tokens":12,"output_tokens":34,"cost_usd":"0.00135","ms":812.4}
    {"ts":"2026-11-21T12:00:00.123Z","level":"info","event":"relayed","process":"edge","request_id":"...",
     "relay_key_id":7,"project":"demo","line":"v1","endpoint":"events","mode":"async","status":202,"error":"",
     "targets":3,"bytes_in":512,"bytes_out":0,"client_ip":"192.0.2.7","ms":4.2}

A thread of its own writes, since a slow reader of standard output must hold up nobody: while it does, lines are dropped
and counted. Cost on the response path: one append; 4 us a line later, on the loop.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from relay_contract.logs import LogStream
from relay_contract.pricing import usd_text
from relay_edge.call_record import CallRecord
from relay_edge.call_rows import MAX_NAME_LENGTH, bill_of, encode_row, requested_model
from relay_edge.later import Later
from relay_edge.metrics import Metrics
from relay_edge.relay_call import RelayEnd

MOST_LINES = 4_000
MOST_WRITES = 16
"""Batches that wait for the stream."""
CLOSE_SECONDS = 2.0


class AccessLog:
    """One for each process; called with each call that ended."""

    def __init__(self, log: LogStream, metrics: Metrics) -> None:
        self._log = log
        self._dropped = metrics.registry.counter(
            "relay_edge_access_log_dropped_total", "Lines of the access log dropped because its reader was too slow."
        )
        self._later = Later(self._write, most=MOST_LINES, dropped=self._dropped)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="access-log")
        self._writing: dict[asyncio.Future[bool], int] = {}  # and how many lines each has

    def __call__(self, record: CallRecord | RelayEnd) -> None:
        """Never waits."""
        self._later.add(record)

    async def close(self) -> None:
        """Writes what is left, within CLOSE_SECONDS."""
        self._later.flush()
        if self._writing:
            await asyncio.wait(self._writing, timeout=CLOSE_SECONDS)
        self._dropped.value += sum(self._writing.values())
        self._writer.shutdown(wait=False, cancel_futures=True)

    def _write(self, ended: list[CallRecord | RelayEnd]) -> None:
        if len(self._writing) >= MOST_WRITES:
            self._dropped.value += len(ended)
            return
        lines = [relayed_line(each) if isinstance(each, RelayEnd) else line_of(each) for each in ended]
        text = b"".join([b"%b\n" % encode_row(line) for line in lines]).decode()
        writing = asyncio.get_running_loop().run_in_executor(self._writer, self._put, text)
        self._writing[writing] = len(ended)
        writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Future[bool]) -> None:
        lines = self._writing.pop(writing)
        if not writing.cancelled() and not writing.result():  # `close` has counted what it cancelled
            self._dropped.value += lines

    def _put(self, text: str) -> bool:
        """Whether the stream took it. In the writer's thread; the handler's lock keeps lines whole."""
        self._log.acquire()
        try:
            self._log.stream.write(text)
            self._log.stream.flush()
        except (OSError, ValueError):  # the reader has gone, or the stream is closed
            return False
        finally:
            self._log.release()
        return True


def line_of(record: CallRecord) -> dict[str, object]:
    """What the line says. The name that a caller asked for is redacted where it is no model's."""
    bill, candidate = bill_of(record), record.candidate
    return {
        "ts": _text_of(datetime.fromtimestamp(record.received_at, UTC)),
        "level": "info",
        "event": "call",
        "process": "edge",
        "request_id": record.request_id,
        "relay_key_id": record.relay_key_id,
        "application_id": record.application_id,
        "surface": record.surface,
        "model": requested_model(record)[:MAX_NAME_LENGTH] if candidate is None else candidate.model.name,
        "host": record.host,
        "status": record.status,
        "error": record.error,
        "attempts": record.tries,
        "input_tokens": bill.usage.prompt_tokens,
        "output_tokens": bill.usage.all_output_tokens,
        "cost_usd": None if bill.cost_nanousd is None else usd_text(bill.cost_nanousd),
        "ms": round((record.ended - record.started) * 1000, 3),
    }


def relayed_line(end: RelayEnd) -> dict[str, object]:
    """The same of a call to a relay endpoint. `mode` is "" where nothing was accepted."""
    return {
        "ts": _text_of(end.received_at),
        "level": "info",
        "event": "relayed",
        "process": "edge",
        "request_id": str(end.request_id),
        "relay_key_id": end.relay_key_id,
        "project": end.project,
        "line": end.line,
        "endpoint": end.endpoint,
        "mode": end.mode,
        "status": end.status,
        "error": end.error,
        "targets": end.targets,
        "bytes_in": end.bytes_in,
        "bytes_out": end.bytes_out,
        "client_ip": end.client_ip,
        "ms": round(end.seconds * 1000, 3),
    }


def _text_of(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
