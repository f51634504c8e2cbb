"""`make bench`, or `python -m bench [--quick] [--only NAME] [--rounds N]`: the product beside a bare aiohttp proxy.

It starts the product in a home of its own, which it removes; a full run takes about eleven minutes. Exit code 0 when
everything was measured (aims that are not met are printed, and no reason to fail), 1 when something could not be.
"""

import argparse
import contextlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import measure, prepaid, product, relay_parts, report
from bench.measure import QUICK, Contender, Placement, Sizes
from bench.parts import ROOT, BenchError, say, server
from bench.processes import NotLinuxError, require_linux
from bench.product import Product
from bench.report import Aim, Figure, Report

RESULTS = ROOT / "bench" / "results"
PARTS = (
    *("memory", "requests", "streams", "first_byte", "cross", "outage", "processes"),
    *relay_parts.PARTS,
    *("catalog", "ledger", "tokens"),
)
PROGRAMS = {
    "catalog": ("catalog of 100,000 keys", 300),
    "ledger": ("the ledger, with a wallet of ten million entries", 1_800),
    "tokens": ("access tokens, and their revocation while the catalog changes", 300),
}
"""Parts that are programs of their own: what they measure, and the seconds that they may take."""
ON_REQUEST = ("soak",)
DEFAULT_FOLDER = Path("/var/tmp")  # on a disk, unlike /tmp on many systems, whose fsync would cost nothing
STREAMS_OF_THE_AIM = 25


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    options = _options(arguments)
    begun: list[Report] = []
    try:
        require_linux()
        found = run(options, tell=begun.append)
    except (BenchError, NotLinuxError) as error:
        for report_so_far in begun:
            _print(report_so_far)
        print(f"\nThe bench cannot go on, and nothing was stored.\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing was stored.", file=sys.stderr)
        return 1
    _print(found)
    if options.store:
        print(f"\nStored in {found.write(options.results)}")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What the relay costs, beside a bare proxy.")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, one round: a look, no evidence")
    parser.add_argument(
        "--only",
        choices=PARTS + ON_REQUEST,
        action="append",
        help="measure this part alone; may be repeated. soak is measured only when it is named",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long soak holds its streams (default 10)")
    parser.add_argument("--rounds", type=int, choices=range(1, 21), metavar="N", help="medians of so many (default 3)")
    parser.add_argument("--bare", action="store_true", help="the bare proxy alone, without starting the product")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="where the product's data lives meanwhile")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    parser.add_argument("--no-store", dest="store", action="store_false", help="print only")
    return parser.parse_args(arguments)


def run(
    options: argparse.Namespace, sizes: Sizes | None = None, tell: Callable[[Report], None] = lambda _: None
) -> Report:
    """Measure what the options ask for. BenchError when something cannot be measured or trusted; `tell` was given the
    report, with what was measured before."""
    sizes = sizes or (QUICK if options.quick else Sizes())
    rounds = options.rounds or (1 if options.quick else 3)
    wanted = options.only or list(PARTS)
    _allow_many_connections(sizes)
    placement, machine = Placement(), report.machine(options.folder)
    with contextlib.ExitStack() as stack:
        vendor = stack.enter_context(server("vendor"))
        sink = stack.enter_context(server("sink"))
        bare = stack.enter_context(server("bare_proxy", "--upstream", vendor.url))
        contenders = [measure.part_contender(vendor), measure.part_contender(bare)]
        ours: Product | None = None
        if not options.bare:
            say("starting the product")
            ours = stack.enter_context(product.running(vendor.url, sink.url, options.folder))
            contenders.append(measure.product_contender(ours))
        found = Report(
            settings=report.settings(contenders, sizes, rounds, placement.text),
            machine=machine,
        )
        tell(found)
        with measure.placed(placement, contenders):
            if "memory" in wanted:
                _memory(found, contenders, sizes)
            if "requests" in wanted:
                _requests(found, contenders, sizes, rounds)
                _prepaid(found, ours, sizes, rounds)
            if "streams" in wanted:
                _streams(found, contenders, sizes, rounds)
            if "first_byte" in wanted:
                _first_bytes(found, contenders, sizes, rounds)
            if ours is not None:
                _inference(found, ours, wanted, sizes, rounds=rounds, minutes=options.minutes)
        if ours is not None:
            relay_parts.measure(found, ours, sink, sizes, rounds=rounds, wanted=wanted)
            _peaks(found, ours)
    if "processes" in wanted and not options.bare:
        _processes(found, options.folder, sizes, rounds)
    for name in [] if options.bare else [each for each in PROGRAMS if each in wanted]:
        _program(found, name)
    return found


def _memory(found: Report, contenders: Sequence[Contender], sizes: Sizes) -> None:
    say(f"memory with {sizes.idle_streams:,} idle streams")
    idle = {one.name: measure.idle_streams(one, sizes) for one in contenders if one.name != report.DIRECT}
    ours = next((one for one in contenders if one.name == report.OURS), None)
    worker = measure.largest(ours.roles()["worker"]) if ours is not None else None
    found.figures += report.memory_figures(idle.get(report.OURS), idle[report.BARE], worker)
    found.raw["idle_streams"] = idle


def _requests(found: Report, contenders: Sequence[Contender], sizes: Sizes, rounds: int) -> None:
    say(f"{sizes.requests:,} chats, {sizes.requests_in_flight} in flight, {rounds} rounds")
    many = measure.requests(contenders, sizes, rounds)
    more = measure.requests_many_in_flight(contenders, sizes, rounds)
    single = measure.requests_one_at_a_time(contenders, sizes, rounds)
    per_second = report.capacity_per_second(many) / 3
    say(f"{per_second:,.0f} chats a second, a third of capacity, {rounds} rounds")
    paced = measure.requests_paced(contenders, sizes, rounds, per_second)
    found.figures += report.request_figures(many, more, (sizes.requests_in_flight, sizes.requests_many_in_flight))
    found.figures += report.latency_figures(paced, f"at {per_second:,.0f} a second, a third of capacity")
    found.figures += report.latency_figures(single, "one call at a time")
    found.raw |= {"requests": many, "requests_many_in_flight": more}
    found.raw |= {"requests_paced": paced, "requests_one_at_a_time": single}


def _prepaid(found: Report, ours: Product | None, sizes: Sizes, rounds: int) -> None:
    if ours is None:
        return
    say(f"the same paid beforehand, by one wallet and by {prepaid.WALLETS:,}, {rounds} rounds")
    contenders = [measure.product_contender(ours), *prepaid.contenders(ours)]
    samples = measure.requests(contenders, sizes, rounds)
    found.figures += prepaid.figures(samples)
    found.raw["requests_prepaid"] = samples


def _streams(found: Report, contenders: Sequence[Contender], sizes: Sizes, rounds: int) -> None:
    for at_once, count in sizes.streams:
        say(f"{count:,} streams, {at_once} at once, {rounds} rounds")
        samples = measure.streams(contenders, at_once, count, rounds)
        aim = Aim(1.4, is_upper=True) if at_once == STREAMS_OF_THE_AIM else None
        found.figures += report.stream_figures(samples, at_once, aim)
        found.raw[f"streams_{at_once}_at_once"] = samples


def _first_bytes(found: Report, contenders: Sequence[Contender], sizes: Sizes, rounds: int) -> None:
    say(f"{sizes.first_bytes:,} streams, one at a time, {rounds} rounds")
    samples = measure.first_bytes(contenders, sizes, rounds)
    found.figures += report.first_byte_figures(samples)
    found.raw["first_bytes"] = samples


def _inference(
    found: Report, ours: Product, wanted: Sequence[str], sizes: Sizes, *, rounds: int, minutes: float
) -> None:
    """What only the product does."""
    contender = measure.product_contender(ours)
    if "cross" in wanted:
        say(f"translated chats and streams, {rounds} rounds")
        whole, streamed = measure.cross_shape(contender, sizes, rounds)
        found.figures += report.cross_shape_figures(whole, streamed, sizes.streams[-1][0])
        found.raw |= {"cross_shape": whole, "cross_shape_streams": streamed}
    if "outage" in wanted:
        say("chats while Redis is halted for a second")
        sample = measure.redis_stopped(ours, sizes)
        found.figures += report.outage_figures(sample)
        found.raw["redis_stopped"] = sample
    if "soak" in wanted:
        say(f"{sizes.idle_streams:,} live streams for {minutes:g} minutes")
        resident = measure.ticking_streams(contender, sizes, minutes)
        found.figures += report.soak_figures(sizes.idle_streams, minutes, resident)
        found.raw["soak_resident_bytes"] = resident


def _processes(found: Report, folder: Path, sizes: Sizes, rounds: int) -> None:
    """One edge process and two, nothing pinned."""
    taken = []
    for edges in (1, 2):
        say(f"{sizes.requests:,} chats on {edges} edge process{'es' if edges > 1 else ''}, {rounds} rounds")
        with (
            server("vendor") as vendor,
            server("sink") as sink,
            product.running(vendor.url, sink.url, folder, edges=edges) as ours,
        ):
            taken.append(measure.requests([measure.product_contender(ours)], sizes, rounds))
    found.figures += report.process_figures(*taken)
    found.raw["processes"] = taken


def _peaks(found: Report, ours: Product) -> None:
    """The most memory that any process of each role ever held."""
    peaks: dict[str, Any] = {}
    for role, pids in ours.pids_by_role().items():
        if role in {"edge", "worker", "control", "schedule", "supervisor"}:
            peaks[role] = round(max(measure.largest([pid]).peak_bytes for pid in pids) / 1e6, 1)
    found.raw["peak_megabytes_of_one_process"] = peaks
    found.notes.append("peak MB of one process: " + ", ".join(f"{role} {peak:g}" for role, peak in peaks.items()))


def _program(found: Report, name: str) -> None:
    """What `bench/{name}.py` prints last: `{"figures": [{name, unit, value, aim_at_most, aim_at_least}]}`."""
    about, seconds = PROGRAMS[name]
    say(about)
    command = [sys.executable, "-m", f"bench.{name}"]
    done = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=seconds)
    if done.returncode != 0:
        raise BenchError(f"bench.{name} ended with {done.returncode}; its own message is above.")
    said = json.loads(done.stdout.splitlines()[-1])
    for figure in said["figures"]:
        most, least = figure.get("aim_at_most"), figure.get("aim_at_least")
        aim = Aim(most, is_upper=True) if most is not None else None if least is None else Aim(least, is_upper=False)
        found.figures.append(Figure(figure["name"], figure["unit"], figure["value"], aim=aim))
    found.raw[name] = said


def _allow_many_connections(sizes: Sizes) -> None:
    """Raise this process' limit of open files, which everything it starts inherits. BenchError when it may not."""
    wanted = 4 * sizes.idle_streams + 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise BenchError(f"The bench needs {wanted} open files a process, and this user may have {hard}: ulimit -n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _print(found: Report) -> None:
    about = found.machine
    missed = about["pauses"]
    print(
        f"\n{about['date']}, {about['cpus']} x {about['cpu']}, {about['memory_gb']} GB, {about['system']}, "
        f"Python {about['python']}\nfdatasync of 8 KB {about['fdatasync_ms']} ms; load average at the start "
        f"{about['load_average'][0]:.2f}\nbusy CPUs were kept from running for {missed['share']:.1%} of the time, for "
        f"{missed['longest_ms']:.1f} ms at the longest\n{found.settings['rounds']} rounds, medians; "
        f"{found.settings['placement']}\n"
    )
    print(found.table())
    for note in found.notes:
        print(f"\n{note}")
    shortfalls = found.shortfalls()
    if shortfalls:
        print("\nFALLS SHORT\n" + "\n".join(f"  {shortfall}" for shortfall in shortfalls))
    elif any(figure.verdict for figure in found.figures):
        print("\nEvery aim that was measured is met.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
