"""Setting up `.venv`: in a copy of the checkout with requirement files of our own, so that nothing is downloaded."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = ("requirements.txt", "requirements-standalone.txt", "requirements-dev.txt", "requirements-uv.txt")

# Runs the script as if this Python were another: `hide` are modules that it lacks, `version` is what it is.
PRETEND = """
import runpy, sys
script, hide, version, *rest = sys.argv[1:]
for name in filter(None, hide.split(",")):
    sys.modules[name] = None
if version:
    sys.version_info = tuple(map(int, version.split("."))); sys.version = version + " (pretended)"
sys.argv = [script, *rest]
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that needs no package: all requirement files are empty."""
    (tmp_path / "standalone").mkdir()
    shutil.copy(ROOT / "standalone" / "environment.py", tmp_path / "standalone")
    for name in FILES:
        (tmp_path / name).write_text("# nothing\n")
    return tmp_path


def set_up(
    checkout: Path, *arguments: str, hide: str = "", version: str = "", path: str = "/nowhere"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", PRETEND, str(checkout / "standalone" / "environment.py"), hide, version]
    environment = {"PATH": path, "PIP_NO_INDEX": "1", "HOME": str(checkout)}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_first_run_builds_and_the_second_does_nothing(checkout: Path) -> None:
    first = set_up(checkout)
    assert first.returncode == 0, first.stderr
    assert ".venv is ready" in first.stdout
    venv_python = checkout / ".venv" / "bin" / "python"
    where = subprocess.run(
        [venv_python, "-c", "import sys; print(*sys.path)"], capture_output=True, text=True, check=True
    )
    assert str(checkout) in where.stdout.split()  # console scripts find the product too
    stamp = checkout / ".venv" / ".relay-stamp.json"
    assert set(json.loads(stamp.read_text())) == {"requirements.txt", "requirements-standalone.txt"}
    venv_python_made = venv_python.lstat().st_mtime_ns

    second = set_up(checkout)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")

    (checkout / "requirements.txt").write_text("# another nothing\n")
    third = set_up(checkout)
    assert third.returncode == 0, third.stderr
    assert ".venv is ready" in third.stdout
    dev = set_up(checkout, "--dev")
    assert dev.returncode == 0, dev.stderr
    assert "requirements-dev.txt" in json.loads(stamp.read_text())
    assert set_up(checkout).stdout == ""  # what tests need holds what running needs
    assert venv_python.lstat().st_mtime_ns == venv_python_made


def wheel(folder: Path) -> tuple[Path, str]:
    """A package of one module, and its SHA-256."""
    path = folder / "harmless-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("harmless.py", "VALUE = 7\n")
        archive.writestr("harmless-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: harmless\nVersion: 1.0\n")
        archive.writestr(
            "harmless-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("harmless-1.0.dist-info/RECORD", "")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_package_is_installed_only_with_its_hash(checkout: Path) -> None:
    package, digest = wheel(checkout)
    for line in (f"harmless @ file://{package}\n", f"harmless @ file://{package} --hash=sha256:{'0' * 64}\n"):
        (checkout / "requirements.txt").write_text(line)
        refused = set_up(checkout)
        assert refused.returncode == 1
        assert "hashes" in refused.stderr.lower()
        assert "installing the packages failed" in refused.stderr
        assert not (checkout / ".venv" / ".relay-stamp.json").exists()
    (checkout / "requirements.txt").write_text(f"harmless @ file://{package} --hash=sha256:{digest}\n")
    assert set_up(checkout).returncode == 0
    command = [checkout / ".venv" / "bin" / "python", "-c", "import harmless; print(harmless.VALUE)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "7\n"


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_without_venv_says_what_to_install(checkout: Path, missing: str) -> None:
    done = set_up(checkout, hide=missing)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.returncode == 1
    assert "Relay cannot set itself up." in done.stderr
    assert f"apt install python{version}-venv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout / ".venv" / "bin").exists()


def test_an_old_python_says_what_is_needed(checkout: Path) -> None:
    done = set_up(checkout, version="3.9.18")
    assert done.returncode == 1
    assert "Relay needs Python 3.11 or newer; this is Python 3.9.18" in done.stderr
    assert "PYTHON=/path/to/python3.11 make run" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_python_hands_over_to_a_newer_one_on_path(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    broken = folder / "python3.13"  # a version manager's shim for a Python that is not selected
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    (folder / "python3.12").symlink_to(sys.executable)
    done = set_up(checkout, version="3.9.18", path=str(folder))
    assert done.returncode == 0, done.stderr
    assert ".venv is ready" in done.stdout


def test_the_script_is_readable_for_old_pythons() -> None:
    source = (ROOT / "standalone" / "environment.py").read_text()
    compile(source, "environment.py", "exec", dont_inherit=True)
    ast.parse(source, feature_version=(3, 7))
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
