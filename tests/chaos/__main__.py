"""`make chaos`, or `python -m tests.chaos [--requests N] [--kills N] [--seed N] ...`: kills the product while it works.

Starts the product in a home of its own, which it removes; everything it kills, it started. Exit code 0 when nothing
acknowledged was lost and the ledger is right, 1 with the ids that differ when not.
"""

import argparse
import random
import shutil
import sys
from collections.abc import Sequence

from tests.chaos.run import Options, run
from tests.system.product import Product, new_home


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    options = _options(arguments)
    print(f"chaos | seed {options.seed}: starting the product", flush=True)
    home = new_home()
    product = Product(home).start()
    try:
        print(f"chaos | {options.requests:,} calls, {options.kills} kills", flush=True)
        report = run(product, options)
    except AssertionError as problem:
        print(f"{problem}\n{product.log_tail()}", file=sys.stderr)
        return 1
    finally:
        product.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(report.text())
    return 1 if report.differences else 0


def _options(arguments: Sequence[str]) -> Options:
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kills the product while it works.")
    parser.add_argument("--requests", type=int, default=default.requests, help="calls, of three deliveries each")
    parser.add_argument("--concurrency", type=int, default=default.concurrency, help="callers at once")
    parser.add_argument("--kills", type=int, default=default.kills, help="in all, of every kind alike, with FLUSHALL")
    parser.add_argument("--beside", type=int, default=default.beside, help="callers of a sync and of a stream target")
    parser.add_argument("--spenders", type=int, default=default.spenders, help="callers who spend, of four kinds")
    parser.add_argument("--waiting", type=float, default=default.waiting, help="share of kills that let purses open")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="the same seed, the same kills")
    parser.add_argument("--minutes", type=float, default=default.seconds / 60, help="at most, for calls and for drain")
    given = parser.parse_args(arguments)
    return Options(
        requests=given.requests,
        concurrency=given.concurrency,
        kills=given.kills,
        beside=given.beside,
        spenders=given.spenders,
        waiting=given.waiting,
        seed=given.seed,
        seconds=given.minutes * 60,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
