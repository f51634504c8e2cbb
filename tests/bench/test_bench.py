"""The bench's own tools on tiny counts: what they count, and that a wrong answer stops a measurement."""

import argparse
import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest

from bench import __main__ as bench_program
from bench import processes
from bench.load import Plan, percentiles
from bench.measure import Sizes, chat_body
from bench.parts import BenchError, Load, Part, fetch, server
from bench.report import Aim, Figure, Report
from relay_edge import admission, purse_holds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads /proc")

TINY = Sizes(40, 4, 8, 0.1, 10, ((1, 1),), 10, 4, 12, first_bytes=5)
JSON_HEADERS = {"content-type": "application/json"}


def chats(part: Part, count: int, *, stream: bool = False, expected_status: int = 200) -> Plan:
    return Plan(f"{part.url}/v1/chat/completions", JSON_HEADERS, chat_body("bench-chat", stream=stream), 4, count,
                expected_status=expected_status)  # fmt: skip


def test_a_run_without_the_product_compares_and_stores(tmp_path: Path) -> None:
    options = argparse.Namespace(quick=True, only=None, rounds=1, bare=True, folder=tmp_path)
    found = bench_program.run(options, TINY)
    measured = {figure.name for figure in found.figures if figure.bare is not None}
    assert "edge CPU per 1,000 chats" in measured
    assert "edge CPU per 1,000 streams of 40 chunks, 1 at once" in measured
    assert "edge memory with 12 idle streams" in measured
    assert "edge CPU per 1,000 chats, 8 in flight" in measured
    assert sum("a third of capacity" in name for name in measured) == 2
    first, second = found.write(tmp_path), found.write(tmp_path)
    assert second.name == f"{first.stem}-2.json"
    stored = json.loads(first.read_text())
    assert [figure["name"] for figure in stored["figures"]] == [figure.name for figure in found.figures]
    assert stored["raw"]["requests"]["bare_proxy"][0]["outcome"]["completed"] == 40
    assert 0 <= stored["machine"]["pauses"]["share"] < 1


def test_the_vendor_answers_what_the_figures_speak_of() -> None:
    with server("vendor") as vendor:
        with Load(chats(vendor, 9)) as load:
            whole = load.run()
        with Load(chats(vendor, 4, stream=True)) as load:
            streamed = load.run()
    assert (whole.completed, whole.body_bytes) == (9, {"632": 9})
    assert len(streamed.body_bytes) == 1
    assert len(chat_body("bench-chat")) == len(chat_body("bench-chat", stream=True)) == 1024


def test_a_paced_run_keeps_its_pace() -> None:
    with server("vendor") as vendor, Load(replace(chats(vendor, 30), per_second=100.0)) as load:
        outcome = load.run()
    assert outcome.completed == 30
    assert outcome.seconds > 29 / 100


def test_a_wrong_status_stops_the_measurement() -> None:
    with (
        server("vendor") as vendor,
        Load(chats(vendor, 3, expected_status=202)) as load,
        pytest.raises(BenchError, match=r"0 of 3 calls.*status 200"),
    ):
        load.run()


@contextmanager
def refusing(text: str, each: int) -> Iterator[str]:
    """A server that refuses each so many-th call with this text and answers the others; its address."""
    calls = count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            is_refused = next(calls) % each == 0
            body = json.dumps({"error": {"message": text}}).encode() if is_refused else b"{}"
            self.send_response(503 if is_refused else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/"
    finally:
        listening.shutdown()
        listening.server_close()


@pytest.mark.parametrize("text", [admission._MONEY_TEXT, purse_holds._CLOSED_TEXT], ids=["limits", "purses"])
@pytest.mark.parametrize("each", [50, 40])
def test_a_few_calls_whose_money_was_not_counted_in_time_stop_nothing(text: str, each: int) -> None:
    with refusing(text, each) as url, Load(Plan(url, JSON_HEADERS, "{}", 1, 200)) as load:
        if each == 50:
            outcome = load.run()
            assert (outcome.completed, sum(outcome.failures.values())) == (196, 4)
        else:
            with pytest.raises(BenchError, match="195 of 200 calls"):
                load.run()


def test_another_refusal_stops_the_measurement() -> None:
    with (
        refusing("The relay is not ready yet.", 100) as url,
        Load(Plan(url, JSON_HEADERS, "{}", 1, 200)) as load,
        pytest.raises(BenchError, match="198 of 200 calls"),
    ):
        load.run()


def test_the_sink_tells_ids_from_calls() -> None:
    with server("sink") as sink:
        for webhook_id in ("one", "two", "two"):
            request = urllib.request.Request(f"{sink.url}/a", data=b"{}", headers={"webhook-id": webhook_id})
            urllib.request.urlopen(request).close()
        assert fetch(f"{sink.url}/seen") == {"/a": {"distinct": 2, "calls": 3}}
        received = fetch(f"{sink.url}/received")
        assert list(received["/a"]) == ["one", "two"]
        assert received["/a"]["one"] < received["/a"]["two"] < time.perf_counter()
        fetch(f"{sink.url}/reset")
        assert fetch(f"{sink.url}/seen") == {}


def test_cpu_and_memory_are_those_of_the_process() -> None:
    before = processes.cpu_seconds([os.getpid()])
    while processes.cpu_seconds([os.getpid()]) < before + 0.05:
        sum(range(10_000))
    memory = processes.memory(os.getpid())
    assert memory.peak_bytes >= memory.resident_bytes > memory.private_bytes > 1_000_000
    assert processes.cpu_seconds([2**22 + 1]) == 0


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles([n / 1000 for n in range(1, 101)]) == {
        "p50": 51.0,
        "p90": 91.0,
        "p95": 96.0,
        "p99": 100.0,
        "max": 100.0,
    }
    assert percentiles([]) == {}


def test_an_aim_that_is_not_met_is_said() -> None:
    report = Report(settings={}, figures=[Figure("CPU", "s", 0.09, 0.18, Aim(0.08, is_upper=True)),
                                          Figure("rate", "1/s", 2100, None, Aim(2000, is_upper=False))])  # fmt: skip
    assert report.shortfalls() == ["CPU: 0.090 s, the aim is <= 0.08"]
    assert [line.split() for line in report.table().splitlines()[2:]] == [
        ["CPU", "(s)", "0.090", "0.180", "0.50", "<=", "0.08", "NOT", "MET"],
        ["rate", "(1/s)", "2,100", "-", ">=", "2,000", "met"],
    ]
