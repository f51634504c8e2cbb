"""docs/reference/headers.md against the names that the code has: each of the contract's is there, and the code has each
that is there."""

import re
from collections.abc import Iterator
from pathlib import Path

from relay_contract import headers
from relay_contract.errors import LimitState
from relay_contract.nouns import Meter
from relay_edge.error_shapes import ErrorShape
from relay_edge.limit_headers import lines

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "headers.md").read_text(encoding="utf-8")
NOT_NAMES = {"DURABILITY_COMMITTED", "KEY_EXPIRED_GRACE", "SUCCESSOR_PATH", "TRACE_TAG"}
OF_DJANGO = {"etag", "x-csrftoken", "x-forwarded-proto"}
"""Read and written by Django, DRF and uvicorn in our name."""


def told() -> set[str]:
    """Names in the first column of the page's tables."""
    cells = re.findall(r"^\| ([^|]+) \|", PAGE, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def shared() -> Iterator[str]:
    """Every name that the contract has."""
    for name, value in vars(headers).items():
        if name.isupper() and name not in NOT_NAMES:
            if isinstance(value, str):
                yield value
            elif isinstance(value, frozenset):
                yield from value
    yield from (f"{prefix}*" for prefix in headers.NOT_STORED_PREFIXES)


def of_limits() -> set[str]:
    """Header lines that tell what limits leave."""
    states = [LimitState(meter, 1, 1, 0) for meter in (Meter.REQUESTS, Meter.TOKENS)]
    return {name for shape in (ErrorShape.OPENAI, ErrorShape.ANTHROPIC) for name, _ in lines(states, shape, 0.0)}


def test_every_shared_name_is_told() -> None:
    of_bodies = headers.OF_A_BODY - headers.NOT_STORED  # which a body that is made anew loses
    assert set(shared()) - told() - of_bodies == set()
    assert of_limits() <= told()


def test_the_code_has_every_name_that_is_told() -> None:
    packages = ("relay_contract", "relay_edge", "delivery", "relay_admin")
    files = [path for name in packages for path in (ROOT / name).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files).lower()
    built = {f"svix-{part}" for part in ("id", "timestamp", "signature")} | of_limits()
    unknown = {name for name in told() if name.rstrip("*") not in code} - built - OF_DJANGO
    assert unknown == set()
