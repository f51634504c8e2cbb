"""A folder that the embedded Postgres can use, also when the tests run as root: pytest's own are closed to others."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def reachable_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="relay-home-"))
    home.chmod(0o711)
    yield home
    shutil.rmtree(home)
