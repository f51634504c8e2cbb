"""Builds `.venv` with what the product needs: `python3 standalone/environment.py [--dev]`, which `make` calls.

Standard library only, a plain file, and written so that Pythons back to 3.7 can read it: an old one must get as far as
saying what is missing. Every package is installed with its hash from the requirement files; a stamp of those files'
hashes lets the next start skip the work (0.1 s).
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

MINIMUM = (3, 11)
CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3.14", "python3", "python")
CHECKOUT = Path(__file__).resolve().parent.parent
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin" / "python"
RUN = ("requirements.txt", "requirements-standalone.txt")
DEV = (*RUN, "requirements-dev.txt")
INSTALLER = "requirements-uv.txt"
VERSION_PROGRAM = "import sys; print(sys.version_info[0], sys.version_info[1])"


class EnvironmentUnusable(Exception):
    """The environment cannot be built; the text says what to do."""


def main() -> int:
    """The exit code: 0 when `.venv` is ready, 1 when it cannot be (said on standard error)."""
    try:
        if tuple(sys.version_info[:2]) < MINIMUM:
            run_again_with(newer_python())
        VENV.mkdir(exist_ok=True)
        with (VENV / ".relay-lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # `make run` and `make test` side by side: one builds, the other waits
            build(DEV if "--dev" in sys.argv[1:] else RUN)
    except EnvironmentUnusable as error:
        print(f"\nRelay cannot set itself up.\n{error}\n", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"\nRelay cannot set itself up in {VENV}: {error}.\n", file=sys.stderr)
        return 1
    return 0


def build(names: tuple[str, ...]) -> None:
    """Make `.venv` hold what the requirement files `names` list. Raises EnvironmentUnusable."""
    stamp = VENV / ".relay-stamp.json"
    wanted = {name: hashlib.sha256((CHECKOUT / name).read_bytes()).hexdigest() for name in names}
    installed = read_stamp(stamp) if version_of(PYTHON) >= MINIMUM else {}
    if installed and all(installed.get(name) == digest for name, digest in wanted.items()):
        return
    say(f"setting up .venv with Python {sys.version.split()[0]} (once; about a minute without uv)")
    if version_of(PYTHON) < MINIMUM:
        make_venv()
    stamp.unlink() if stamp.exists() else None
    install(names)
    # So that `.venv/bin/pytest`, `celery` and `uvicorn` find the product from any folder.
    packages = next(iter((VENV / "lib").glob("python3.*/site-packages")))
    (packages / "relay-checkout.pth").write_text(f"{CHECKOUT}\n")
    stamp.write_text(json.dumps({**installed, **wanted}, indent=2))
    say(".venv is ready")


def read_stamp(stamp: Path) -> dict[str, str]:
    try:
        content = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return {}  # never finished: install again
    return content if isinstance(content, dict) else {}


def version_of(python: Path | str) -> tuple[int, int]:
    """What an interpreter says its version is; (0, 0) when it does not run."""
    try:
        said = subprocess.run(  # noqa: S603 - a Python found on PATH
            [str(python), "-I", "-c", VERSION_PROGRAM], check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        major, minor = said.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError):
        return 0, 0


def newer_python() -> str:
    """The path of a Python that is new enough. Raises EnvironmentUnusable when there is none on PATH."""
    for name in CANDIDATES:
        found = shutil.which(name)
        if found and version_of(found) >= MINIMUM:
            return found
    raise EnvironmentUnusable(
        f"Relay needs Python 3.11 or newer; this is Python {sys.version.split()[0]} ({sys.executable}),\n"
        "and no newer one is on PATH.\n"
        "Install one (Debian, Ubuntu: apt install python3.11 python3.11-venv; Fedora: dnf install python3.11; macOS:\n"
        "brew install python@3.11), or name it: PYTHON=/path/to/python3.11 make run"
    )


def run_again_with(python: str) -> None:
    os.execv(python, [python, str(Path(__file__).resolve()), *sys.argv[1:]])  # noqa: S606 - no shell wanted


def make_venv() -> None:
    """Make or remake `.venv` with the running Python, by its `venv` module or else by uv."""
    has_venv = all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip"))
    uv = shutil.which("uv")
    if has_venv:
        command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    elif uv:
        command = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)]
    else:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise EnvironmentUnusable(
            f"Python {version} ({sys.executable}) comes without its venv module. Install it and try again:\n"
            f"  Debian, Ubuntu:  apt install python{version}-venv\n"
            "  elsewhere:       install uv, which needs none, or use another Python: PYTHON=/path/to/python make run"
        )
    run(command, "making .venv failed")


def install(names: tuple[str, ...]) -> None:
    """Install the files with hashes checked: by uv (seconds) when it can be had, else by pip (a minute)."""
    files = [part for name in names for part in ("-r", str(CHECKOUT / name))]
    uv = find_uv()
    if uv:
        command = [uv, "pip", "install", "--quiet", "--python", str(PYTHON), "--require-hashes", *files]
        environment = {"UV_SYSTEM_CERTS": "1", **os.environ}  # a company's own authority is in the system's store
        tried = subprocess.run(  # noqa: S603 - our own command
            command, check=False, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if tried.returncode == 0:
            return
        # It does not read pip's configuration, such as a mirror.
        say(f"uv could not install the packages, trying pip. It said: {tried.stdout.decode(errors='replace').strip()}")
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", *QUIET_PIP, "--require-hashes", *files]
    run(command, "installing the packages failed; the lines above say why. Without a network nothing can be installed")


QUIET_PIP = ("--disable-pip-version-check", "--no-input")


def find_uv() -> str | None:
    """uv on PATH, or put into `.venv` by pip; None when neither can be had, which is no reason to stop."""
    on_path = shutil.which("uv") or shutil.which("uv", path=str(VENV / "bin"))
    if on_path:
        return on_path
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", *QUIET_PIP, "--require-hashes", "--only-binary", ":all:"]
    tried = subprocess.run(  # noqa: S603 - constant arguments
        [*command, "-r", str(CHECKOUT / INSTALLER)], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return shutil.which("uv", path=str(VENV / "bin")) if tried.returncode == 0 else None


def run(command: list[str], failed: str) -> None:
    if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 - our own commands
        raise EnvironmentUnusable(failed + ".")


def say(text: str) -> None:
    print(f"relay     | {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
