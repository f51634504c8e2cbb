"""Rows of calls in a real Postgres: written in batches, never lost while it is away, bounded, and never poisoned."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from relay_contract.ending import end
from relay_contract.ids import uuid7
from relay_contract.traffic import (
    TRAFFIC_ROWS,
    BreakerEventRow,
    CallRow,
    CaptureRow,
    RefusedRequestRow,
    RequestEndRow,
    TraceRow,
    TrafficRow,
    columns,
    insert_statement,
)
from relay_contract.usage import Usage
from relay_edge import records as module
from relay_edge.call_rows import CallToKeep, encode_row
from relay_edge.metrics import Metrics
from relay_edge.records import Records
from relay_edge.spill import Spill
from tests.edge.conftest import until
from tests.edge.nouns import MOMENT
from tests.edge.proxy import Proxy
from tests.edge.test_call_rows import record
from tests.intake_rows import request_row

MEGABYTE = 1_048_576


@asynccontextmanager
async def running(database_url: str, folder: Path, max_bytes: int = MEGABYTE, index: int = 0) -> AsyncIterator[Records]:
    """At work, and drained at the end."""
    records = Records(database_url, Spill(folder, index, max_bytes), Metrics())
    task = asyncio.create_task(records.run())
    try:
        yield records
        await records.drain(5)
    finally:
        await end(task)


async def connected(records: Records) -> None:
    await until(lambda: records.is_connected, "a connection")


async def stored(owner: AsyncConnection[Any], row: type[TrafficRow], name: str = "id") -> list[Any]:
    cursor = await owner.execute(f"SELECT {name} FROM {row.table} ORDER BY id")
    return [value for (value,) in await cursor.fetchall()]


async def ids(owner: AsyncConnection[Any]) -> set[str]:
    return {str(each) for each in await stored(owner, CallRow)}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def call(records: Records, **changes: Any) -> str:
    call_id = records.call(record(**changes))
    assert call_id is not None
    return call_id


def breaker_event() -> BreakerEventRow:
    return BreakerEventRow(uuid7(), MOMENT, "binding", "vendor", None, 4, "closed", "open", "timeout", 5000)


async def test_stores_every_column_as_it_was(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path
) -> None:
    async with running(edge_database_url, tmp_path) as records:
        call_id = call(records, tags={"größe": "ü"}, user_id=9)
        await until(lambda: ids(owner), "the row")
    cursor = await owner.execute(f"SELECT {', '.join(columns(CallRow))} FROM traffic_call")
    row = CallRow(*(await cursor.fetchone() or ()))
    assert (str(row.id), row.received_at, row.tags, row.user_id, row.cost_nanousd, row.first_token_us, row.finish) == (
        call_id, MOMENT, {"größe": "ü"}, 9, 1_350_000, 500_000, "",
    )  # fmt: skip


async def test_a_row_from_before_a_column_came_is_stored(owner: AsyncConnection[Any]) -> None:
    row = json.loads(CallToKeep(record(usage=Usage(input_audio_seconds=5))).encoded())
    before = {name: value for name, value in row.items() if name != "input_audio_seconds"} | {"id": str(uuid7())}
    await owner.execute(insert_statement(CallRow), [json.dumps([row, before])])
    assert await stored(owner, CallRow, "input_audio_seconds") == [5, 0]


async def test_stores_rows_of_each_kind(owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path) -> None:
    event = breaker_event()
    async with running(edge_database_url, tmp_path) as records:
        await connected(records)
        call_id = call(records)
        trace = TraceRow(uuid7(), MOMENT, {"tries": [{"host": "a\0b"}]})
        records.trace(encode_row(trace))
        records.capture(CaptureRow(trace.id, MOMENT, "a\0", "b\ud800", True))
        records.breaker_event(event)
        end_of_call = RequestEndRow(uuid7(), None, MOMENT, 200, "", 200, 5, 9, 2, 0, "complete", True, "http://t/")
        records.request_end(end_of_call)
        refused = request_row(status=415, error="content_type_not_allowed", line_id=None, relay_key_id=None)
        records.refused_request(RefusedRequestRow(*astuple(replace(refused, path="/a\0", headers='{"x-a": "b"}'))))
    assert await stored(owner, RequestEndRow, "close_reason || bytes_out") == ["complete2"]
    assert await stored(owner, RefusedRequestRow, "path || status || (headers ->> 'x-a')") == ["/a\ufffd415b"]
    assert await ids(owner) == {call_id}
    assert await stored(owner, TraceRow, "trace") == [{"tries": [{"host": "a\ufffdb"}]}]
    assert await stored(owner, CaptureRow, "request || response") == ["a\ufffdb\ufffd"]
    assert await stored(owner, BreakerEventRow) == [event.id]


async def test_an_end_outlasts_postgres_and_a_refusal_does_not(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path
) -> None:
    proxy = await Proxy.start(edge_database_url)
    await proxy.close()
    async with running(proxy.url, tmp_path) as records:
        records.request_end(
            RequestEndRow(uuid7(), uuid7(), MOMENT, 499, "", None, None, 9, 0, 0, "caller_left", True, "")
        )
        records.refused_request(RefusedRequestRow(*astuple(request_row(status=403))))
        await until(lambda: _is_settled(records), "the rows in files")
    assert [name.split(".")[0] for name in files(tmp_path)] == ["deliveries_requestend"]
    async with running(edge_database_url, tmp_path):
        await until(lambda: not files(tmp_path), "the files taken back")
    assert await stored(owner, RequestEndRow, "status") == [499]
    assert await stored(owner, RefusedRequestRow) == []


async def test_a_busy_edge_writes_batches(owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path) -> None:
    async with running(edge_database_url, tmp_path) as records:
        await connected(records)
        kept = {call(records) for _ in range(1000)}
        await until(lambda: _is_settled(records), "the rows")
    assert await ids(owner) == kept
    # Rows of one statement were written by one transaction.
    assert len(set(await stored(owner, CallRow, "xmin::text"))) == 4


def _is_settled(records: Records) -> bool:
    return not records._queued() and records._in_hand is None


async def test_rows_wait_in_files_while_postgres_is_away(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path
) -> None:
    proxy = await Proxy.start(edge_database_url)
    async with running(proxy.url, tmp_path) as records:
        await connected(records)
        kept = {call(records)}
        await until(lambda: ids(owner), "the first row")
        await proxy.close()
        kept |= {call(records) for _ in range(600)}
        records.breaker_event(breaker_event())
        await until(lambda: _is_settled(records), "the rows in files")
        assert len(await ids(owner)) == 1
        assert records.spilled_bytes > 600 * 500
        assert records.age_seconds() >= 0
        assert [name.split(".")[:2] for name in files(tmp_path)] == [
            ["traffic_breakerevent", "0"],
            ["traffic_call", "0"],
        ]
        await proxy.open()
        await until(lambda: not files(tmp_path), "the files taken back")
        assert await ids(owner) == kept
        assert len(await stored(owner, BreakerEventRow)) == 1
        await until(lambda: records.spilled_bytes == 0, "an empty spill")
    await proxy.close()


async def test_a_server_that_hangs_costs_a_bounded_time(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STATEMENT_SECONDS", 0.2)
    proxy = await Proxy.start(edge_database_url)
    async with running(proxy.url, tmp_path) as records:
        await connected(records)
        proxy.freeze()
        kept = {call(records) for _ in range(10)}
        await until(lambda: records.spilled_bytes, "the rows in a file")
        assert await ids(owner) == set()
        proxy.thaw()
        await until(lambda: not files(tmp_path), "the files taken back")
        assert await ids(owner) == kept
    await proxy.close()


async def test_what_a_dead_process_left_is_taken_over(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path
) -> None:
    """Also rows that are in Postgres already: a process may be killed between the commit and the deletion."""
    dead = Records("postgresql://nobody:x@127.0.0.1:1/none", Spill(tmp_path, 5, MEGABYTE), Metrics())
    kept = {call(dead) for _ in range(3)}
    await dead.drain(0)
    [name] = files(tmp_path)
    copy = tmp_path / name.replace(".5.", ".6.")
    copy.write_bytes((tmp_path / name).read_bytes())
    async with running(edge_database_url, tmp_path):
        await until(lambda: not files(tmp_path), "the files taken over")
    assert await ids(owner) == kept


async def test_nothing_more_is_taken_when_the_files_are_full(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path
) -> None:
    proxy = await Proxy.start(edge_database_url)
    await proxy.close()
    async with running(proxy.url, tmp_path, max_bytes=2000) as records:
        kept = set()
        while records.can_keep:
            kept.add(call(records))
            await asyncio.sleep(0)
        kept.add(call(records))  # one that had begun before
        await proxy.open()
        await until(lambda: records.can_keep, "room")
        kept.add(call(records))
        await until(lambda: not files(tmp_path) and _is_settled(records), "the files taken back")
        assert await ids(owner) == kept
    await proxy.close()


async def test_a_folder_that_cannot_be_written_stops_new_calls(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    proxy = await Proxy.start(edge_database_url)
    await proxy.close()
    async with running(proxy.url, tmp_path / "file") as records:
        call_id = call(records)
        await until(lambda: not records.can_keep, "a full spill")
        await proxy.open()
        await until(lambda: records.can_keep, "Postgres back")
        await until(lambda: ids(owner), "the row")
        assert await ids(owner) == {call_id}
    await proxy.close()


async def test_traces_and_captures_are_dropped_and_counted(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path
) -> None:
    records = Records(edge_database_url, Spill(tmp_path, 0, MEGABYTE), Metrics())
    big = CaptureRow(uuid7(), MOMENT, "x" * 1_500_000, "", True)
    for _ in range(4):
        records.capture(big)
    assert records._lanes[CaptureRow].dropped.value == 2  # two of 1.5 MB stay below 4 MiB
    records.trace(encode_row(TraceRow(uuid7(), MOMENT, {})))
    await records.drain(0)  # nobody wrote them: they are no matter for a file
    assert (records._lanes[CaptureRow].dropped.value, records._lanes[TraceRow].dropped.value) == (4, 1)
    assert files(tmp_path) == []


async def test_a_row_that_postgres_takes_only_mended_harms_no_other(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path
) -> None:
    async with running(edge_database_url, tmp_path) as records:
        await connected(records)
        kept = {call(records) for _ in range(20)}
        large = call(records, usage=Usage(input_tokens=2**80))
        kept |= {call(records) for _ in range(20)}
    assert await ids(owner) == kept | {large}
    assert max(await stored(owner, CallRow, "input_tokens")) == 2**63 - 1


async def test_a_row_that_postgres_takes_in_no_form_is_kept_aside(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path
) -> None:
    async with running(edge_database_url, tmp_path) as records:
        await connected(records)
        kept = {call(records) for _ in range(20)}
        bad = call(records, status=2**40)  # the column is an integer of 32 bits
        kept |= {call(records) for _ in range(20)}
        await until(lambda: _is_settled(records), "the rows")
        assert await ids(owner) == kept
        assert (records._calls.refused.value, records._calls.written.value) == (1, 40)
    assert files(tmp_path) == ["traffic_call.0.refused"]
    assert json.loads((tmp_path / "traffic_call.0.refused").read_text())["id"] == bad


async def test_a_spilled_line_that_is_no_row_does_not_stop_the_others(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path
) -> None:
    spill = Spill(tmp_path, 0, MEGABYTE)
    dead = Records("postgresql://nobody:x@127.0.0.1:1/none", Spill(tmp_path, 1, MEGABYTE), Metrics())
    kept = {call(dead) for _ in range(3)}
    await dead.drain(0)
    spill.append(CallRow.table, [b"\0\0\0\0", b"{}", b"nonsense"])
    spill.close()
    newer = tmp_path / f"newer_table.0.{'0' * 32}.jsonl"
    newer.write_text("{}\n")
    async with running(edge_database_url, tmp_path):
        await until(lambda: files(tmp_path) == [newer.name, "traffic_call.0.refused"], "the files taken back")
    assert await ids(owner) == kept


async def test_the_end_of_a_process_leaves_nothing_behind(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path
) -> None:
    async with running(edge_database_url, tmp_path) as records:
        await connected(records)
        kept = {call(records) for _ in range(700)}
    assert await ids(owner) == kept
    proxy = await Proxy.start(edge_database_url)
    async with running(proxy.url, tmp_path) as records:
        await connected(records)
        proxy.freeze()
        more = {call(records) for _ in range(700)}
        await records.drain(0.05)
    assert files(tmp_path) != []
    await proxy.close()
    async with running(edge_database_url, tmp_path):
        await until(lambda: not files(tmp_path), "the files taken back")
    assert await ids(owner) == kept | more


async def test_the_edge_s_role_may_insert_and_nothing_else(edge_database_url: str) -> None:
    async with await AsyncConnection.connect(edge_database_url, autocommit=True) as edge:
        for row in TRAFFIC_ROWS:
            for statement in (
                f"SELECT {columns(row)[-1]} FROM {row.table}",
                f"DELETE FROM {row.table}",
                f"UPDATE {row.table} SET id = id",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await edge.execute(statement.encode())
