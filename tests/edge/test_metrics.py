"""Counters of one process, and their sum over several."""

import json
from pathlib import Path

from relay_contract.errors import AddressForbidden, UpstreamTimeout
from relay_edge.metrics import STATUS_CLASSES, SURFACES, Metrics, Registry, SharedFiles


def filled(count: float, held: float) -> Registry:
    """A process that counted."""
    registry = Registry()
    registry.counter("calls_total", "Calls.", kind="a").add(count)
    registry.counter("calls_total", "Calls.", kind="b")
    histogram = registry.histogram("call_seconds", "Time.", (0.125, 1.0), kind="a")
    for seconds in (0.125, 0.5, 2.0):
        histogram.observe(seconds * count)
    registry.gauge("held", "Held.", "sum").value = held
    registry.gauge("oldest", "Oldest.", "max", lambda: held)
    registry.gauge("size", "Size.", "process", lambda: held)
    registry.gauge("unknown", "Not known yet.", "max", lambda: None)
    return registry


def test_exposition_of_two_processes() -> None:
    one, two = filled(1, 5), filled(2, 7)
    assert one.exposition({"0": one.dump(), "1": two.dump()}) == (
        "# HELP calls_total Calls.\n"
        "# TYPE calls_total counter\n"
        'calls_total{kind="a"} 3\n'
        'calls_total{kind="b"} 0\n'
        "# HELP call_seconds Time.\n"
        "# TYPE call_seconds histogram\n"
        'call_seconds_bucket{kind="a",le="0.125"} 1\n'
        'call_seconds_bucket{kind="a",le="1.0"} 4\n'
        'call_seconds_bucket{kind="a",le="+Inf"} 6\n'
        'call_seconds_sum{kind="a"} 7.875\n'
        'call_seconds_count{kind="a"} 6\n'
        "# HELP held Held.\n"
        "# TYPE held gauge\n"
        "held 12\n"
        "# HELP oldest Oldest.\n"
        "# TYPE oldest gauge\n"
        "oldest 7\n"
        "# HELP size Size.\n"
        "# TYPE size gauge\n"
        'size{process="0"} 5\n'
        'size{process="1"} 7\n'
        "# HELP unknown Not known yet.\n"
        "# TYPE unknown gauge\n"
    )


def test_gauges_of_a_silent_process_are_left_out_and_its_counters_are_not() -> None:
    one, two = filled(1, 5), filled(2, 7)
    silent = two.dump() | {"written_at": 0.0}
    text = one.exposition({"0": one.dump(), "1": silent})
    assert 'calls_total{kind="a"} 3\n' in text
    assert "\nheld 5\n" in text
    assert 'process="1"' not in text


def test_a_successor_counts_on_and_starts_with_gauges_of_its_own(tmp_path: Path) -> None:
    SharedFiles(tmp_path, 3).write(filled(4, 9).dump())
    files, successor = SharedFiles(tmp_path, 3), filled(1, 2)
    left = files.left_by_predecessor()
    assert left is not None
    successor.carry_on(left)
    values = successor.dump()["families"]
    assert values["calls_total"] == {'kind="a"': 5, 'kind="b"': 0}
    assert values["call_seconds"] == {'kind="a"': [1, 2, 3, 13.125]}
    assert values["held"] == {"": 2}


def test_a_successor_of_another_version_takes_what_it_knows() -> None:
    registry = Registry()
    known = registry.counter("known_total", "Known.")
    registry.carry_on({"families": {"known_total": {"": 3, 'new="x"': 1}, "gone_total": {"": 5}}})
    assert known.value == 3


def test_files_of_all_processes_are_gathered_with_the_own_values_fresh(tmp_path: Path) -> None:
    for index in (0, 1, 10):
        SharedFiles(tmp_path, index).write({"written_at": index, "families": {}})
    (tmp_path / "2.draft").write_text("half a f")
    own = {"written_at": 99, "families": {}}
    gathered = SharedFiles(tmp_path, 1).gather(own)
    assert list(gathered) == ["0", "1", "10"]
    assert gathered["1"] is own
    assert SharedFiles(tmp_path, 7).left_by_predecessor() is None


def test_every_surface_and_status_class_is_there_from_the_start() -> None:
    metrics = Metrics()
    metrics.surfaces["relay"].done(202, 0.004)
    metrics.surfaces["inference"].done(499, 0.1)
    values = json.loads(json.dumps(metrics.registry.dump()))["families"]
    counted = values["relay_edge_requests_total"]
    assert set(counted) == {f'surface="{s}",status="{c}"' for s in SURFACES for c in STATUS_CLASSES}
    assert {labels for labels, value in counted.items() if value} == {
        'surface="relay",status="2xx"',
        'surface="inference",status="4xx"',
    }
    seconds = values["relay_edge_request_seconds"]['surface="relay"']
    assert (seconds.index(1), seconds[-1]) == (2, 0.004)


def test_upstream_failures_by_kind() -> None:
    metrics = Metrics()
    metrics.upstream_failure(UpstreamTimeout())
    metrics.upstream_failure(UpstreamTimeout())
    metrics.upstream_failure(AddressForbidden())
    values = metrics.registry.dump()["families"]["relay_edge_upstream_failures_total"]
    assert {labels: value for labels, value in values.items() if value} == {
        'kind="upstream_timeout"': 2,
        'kind="upstream_address_forbidden"': 1,
    }
