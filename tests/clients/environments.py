"""Where the clients live: a Python environment and a Node one of their own, built once and kept.

Both are pinned with hashes (`requirements-clients.txt`, `package-lock.json`). Building takes seconds where the packages
are cached, and needs a registry. Where it cannot be done the tests are skipped and say why; in CI they fail instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
REQUIREMENTS = CHECKOUT / "requirements-clients.txt"
PYTHON_HOME = CHECKOUT / ".venv-clients"
NODE_HOME = Path(__file__).resolve().parent
BUILD_SECONDS = 600
OLDEST_NODE = (20, 19)
"""That vite takes; the packages themselves want 20."""


class NotToBeHadError(Exception):
    """An environment cannot be built here; the text says why."""


def python_clients() -> Path:
    """The interpreter that has the Python clients."""
    python = PYTHON_HOME / "bin" / "python"
    _once(PYTHON_HOME, REQUIREMENTS.read_bytes(), lambda: _build_python(python))
    return python


def node_clients() -> Path:
    """The `node` that finds the JavaScript clients from this folder."""
    return installed_node(NODE_HOME)


def installed_node(home: Path) -> Path:
    """`node`, with what `package-lock.json` of this folder names."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _give_up("Node.js with npm is not installed")
    if (version := _version_of(node)) < OLDEST_NODE:
        _give_up(f"Node.js {'.'.join(map(str, OLDEST_NODE))} or newer is needed, this is {'.'.join(map(str, version))}")
    lock = (home / "package-lock.json").read_bytes()
    _once(home / "node_modules", lock, lambda: _run([npm, "ci", "--silent", "--no-audit", "--no-fund"], home))
    return Path(node)


@cache
def _version_of(node: str) -> tuple[int, ...]:
    """Of `v20.19.0`: 20, 19."""
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    return tuple(int(number) for number in said.strip().removeprefix("v").split(".")[:2])


def _build_python(python: Path) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    pinned = ["--quiet", "--require-hashes", "-r", str(REQUIREMENTS)]
    _run([sys.executable, "-m", "venv", "--clear", str(PYTHON_HOME)], CHECKOUT)
    if uv is not None:
        _run([uv, "pip", "install", "--python", str(python), *pinned], CHECKOUT)
    else:
        _run([str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *pinned], CHECKOUT)


def _once(home: Path, wanted: bytes, build: Callable[[], None]) -> None:
    """Builds unless `home` was built from the same; test processes that come meanwhile wait."""
    digest = hashlib.sha256(wanted).hexdigest()
    stamp = home / ".relay-stamp"
    with (Path(tempfile.gettempdir()) / f"relay-clients-{digest[:16]}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == digest:
            return
        try:
            build()
        except NotToBeHadError as reason:
            _give_up(str(reason))
        stamp.write_text(digest)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHadError(f"{Path(command[0]).name}: {type(error).__name__}") from error
    if done.returncode != 0:
        raise NotToBeHadError(f"{Path(command[0]).name} said: {(done.stderr or done.stdout).strip()[-500:]}")


def _give_up(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"the clients cannot be installed: {reason}")
    pytest.skip(f"the clients cannot be installed: {reason}")
