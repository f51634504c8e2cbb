"""The whole product as a user starts it: `python -m standalone run` in a home of its own, on ports of its own."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import redis

from relay_contract.redis import keys

ROOT = Path(__file__).resolve().parent.parent.parent
T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, seconds: float = 30) -> T:
    """The condition's first truthy answer. Fails, naming `what`, when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"still waiting after {seconds} s for {what}")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; found together, so that they differ."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


@dataclass(frozen=True)
class Process:
    """A line of /proc: a process of the product."""

    pid: int
    parent: int
    command: str


class Product:
    """A running relay. `stop` ends it as Ctrl-C does."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        edge, control, vendor, sink = free_ports(4)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "DJANGO_"))}
        for name in ("DATABASE_URL", "REDIS_URL"):
            inherited.pop(name, None)
        self.environment = inherited | {
            "RELAY_HOME": str(home),
            "RELAY_PORT": str(edge),
            "RELAY_CONTROL_PORT": str(control),
            "RELAY_DEMO_VENDOR_PORT": str(vendor),
            "RELAY_DEMO_SINK_PORT": str(sink),
            "RELAY_EDGE_PROCESSES": "2",
            "RELAY_WORKERS": "2",
            "RELAY_DOMAIN": "relay.test",
            **settings,
        }
        self.sink_url = f"http://127.0.0.1:{sink}"
        self.log = home / "run.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Product":
        """Returns when the product says that it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "standalone", "run"],
                cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        try:
            wait_for(self._is_ready, "the product to be ready", seconds=110)
        except AssertionError as problem:
            tail = self.log_tail()
            self.process.terminate()  # with whatever it had started; it would go on beside the tests to come
            raise AssertionError(f"{problem}; its log ends:\n{tail}") from None
        return self

    def log_tail(self) -> str:
        """The end of what the product and its Postgres said."""
        logs = [self.log, self.home / "postgres.log"]
        return "\n".join(log.read_text(errors="replace")[-3000:] for log in logs if log.exists())

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log_tail()
        path = self.home / "credentials.json"
        return path.exists() and all(
            answers(url)
            for url in (self.credentials["edge_url"] + "/readyz", self.credentials["control_url"] + "/healthz")
        )

    @property
    def credentials(self) -> dict[str, str]:
        return dict(json.loads((self.home / "credentials.json").read_text()))

    @property
    def edge_url(self) -> str:
        return self.credentials["edge_url"]

    @property
    def control_url(self) -> str:
        return self.credentials["control_url"]

    @property
    def relay_key(self) -> str:
        return self.credentials["relay_key"]

    @property
    def database_url(self) -> str:
        """The owner's, from the environment that the control plane was started with."""
        return self._started_with("DATABASE_URL")

    @property
    def redis_url(self) -> str:
        return self._started_with("REDIS_URL")

    def is_money_open(self) -> bool:
        """Whether purses pay, as the page of money says."""
        return self.sql("SELECT 1 FROM ledger_keeping WHERE closed_since IS NULL") != []

    def purse_of(self, wallet_id: int) -> int | None:
        """Micro-credits that its wallet has for calls, as Redis has it; None while money is closed."""
        with redis.Redis.from_url(self.redis_url) as client:
            marker = client.get(keys.MONEY)
            granted, used = client.hmget(keys.purse("w", str(wallet_id)), "granted", "used")
        return int(granted or 0) - int(used or 0) if marker else None

    def _started_with(self, name: str) -> str:
        [control] = self.processes("relay_admin.asgi")
        lines = Path(f"/proc/{control.pid}/environ").read_text().split("\0")
        return dict(line.partition("=")[::2] for line in lines)[name]

    def manage(self, *arguments: str, **variables: str) -> str:
        """Runs a manage.py command against this product; its output. Fails when the command does."""
        command = [sys.executable, "-m", "standalone", "manage", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment | variables, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def apply(self, document: str, **variables: str) -> str:
        """Applies a catalog document."""
        path = self.home / f"catalog-{secrets.token_hex(4)}.yaml"
        path.write_text(document)
        return self.manage("catalog", "apply", str(path), "--yes", **variables)

    def api(self, path: str, body: Any = None) -> Any:
        """The control API's answer, as JSON, with the admin token."""
        request = urllib.request.Request(self.control_url + path, method="GET" if body is None else "POST")
        request.add_header("Authorization", f"Bearer {self.credentials['admin_token']}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """As the database's owner; the rows it returns."""
        with psycopg.connect(self.database_url, autocommit=True) as database:
            cursor = database.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def finished(self, request_id: str, mode: str) -> list[tuple[str, str, str]]:
        """State, dead reason and ledger rows of the request's finished deliveries of that mode."""
        return self.sql(
            "SELECT state, dead_reason, (SELECT string_agg(kind, '+' ORDER BY phase) FROM ledger_charge"
            " WHERE delivery_id = delivery.id) FROM deliveries_finished AS delivery"
            " WHERE request_id = %s AND mode = %s",
            request_id, mode,
        )  # fmt: skip

    def processes(self, mark: str = "") -> list[Process]:
        """The supervisor's descendants whose command line holds `mark`."""
        assert self.process is not None
        everything = list(_processes())
        found, parents = [], {self.process.pid}
        while parents:
            children = [process for process in everything if process.parent in parents]
            found += children
            parents = {process.pid for process in children}
        return [process for process in found if mark in process.command]

    def stop(self) -> None:
        """Ctrl-C, and the wait for a clean end."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"did not stop:\n{self.log_tail()}") from None
        assert code == 0, self.log_tail()
        self.process = None


def answers(url: str) -> bool:
    """True when a GET of the URL is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _processes() -> "list[Process]":
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended while we looked
            found.append(Process(int(entry.name), parent, command.strip()))
    return found


def new_home() -> Path:
    """A home that an embedded Postgres can reach even when the tests run as root."""
    home = Path(tempfile.mkdtemp(prefix="relay-system-", dir="/var/tmp"))
    home.chmod(0o755)
    return home
