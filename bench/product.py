"""The product as a user starts it, `python -m standalone run`, with the bench's catalog, in a home of its own.

One edge process unless it is told otherwise, so that its cost can be told apart. Everything else is as it is by
default: Postgres with fsync on. The home is removed at the end.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench import processes
from bench.parts import ROOT, BenchError, free_ports, tethered
from relay_contract import signing, tokens
from relay_contract.intake import SHARDS
from relay_contract.nouns import KeyMode

PROJECT = "bench"
CHAT_MODEL = "bench-chat"
CROSS_MODEL = "bench-cross"
IDLE_MODEL = "bench-idle"
TICKING_MODEL = "bench-ticking"
BRIEF_MODEL = "bench-brief"
TARGET_PATHS = ("/a", "/b", "/c")
ENDPOINT_PATH = f"/r/{PROJECT}/v1/events"
SYNC_PATH = f"/r/{PROJECT}/v1/lookup"
SYNC_TARGET_PATH = "/lookup"
STREAM_PATH = f"/r/{PROJECT}/v1/answers"
HUNG_PATH = f"/r/{PROJECT}/v1/hung"
HUNG_TARGET_PATH = "/hung"
HUNG_TIMEOUT_SECONDS = 90  # longer than the bench lets it hang: what is cut off fails, and is another matter
HEALTHY_PATH = f"/r/{PROJECT}/v1/healthy"
HEALTHY_TARGET_PATHS = tuple(f"/healthy-{number}" for number in range(SHARDS))
"""In each shard one, so that one shares the hung target's."""
CHAT_PATH = "/v1/chat/completions"

_READY_SECONDS = 120.0
_LIVE_SECONDS = 15.0
_STOP_SECONDS = 60.0

# The first mark found in the command line of a process that the supervisor started, or of the one that it became.
_ROLE_MARKS = (
    ("edge", "relay_edge"),
    ("control", "relay_admin.asgi"),
    ("worker", "delivery.app worker"),
    ("schedule", "delivery.app beat"),
    ("postgres", "postgres"),
    ("valkey", "valkey-server"),
    ("valkey", "redis-server"),
    ("demo", "standalone demo"),
)


@dataclass(frozen=True, slots=True)
class Product:
    """A running relay. `relay_key` belongs to the bench's project; `rates_key` too, and no limit of cost counts it."""

    home: Path
    supervisor_pid: int
    edge_url: str
    relay_key: str
    rates_key: str

    def pids_by_role(self) -> dict[str, list[int]]:
        """Every process of the product, each with its descendants under the role of the supervisor's child."""
        roles: defaultdict[str, list[int]] = defaultdict(list)
        roles["supervisor"] = [self.supervisor_pid]
        for process in processes.descendants(self.supervisor_pid):
            if process.parent == self.supervisor_pid:
                roles[_role(process.command)] += processes.tree(process.pid)
        return dict(roles)

    def environment(self) -> dict[str, str]:
        """What the control plane was started with: our own child's environment, read from /proc."""
        pid = self.pids_by_role()["control"][0]
        pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def manage(self, *arguments: str, **variables: str) -> str:
        """Run a manage.py command against this product; its output. BenchError when it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            check=False,
            cwd=ROOT,
            env=self.environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
        if done.returncode != 0:
            raise BenchError(f"manage.py {' '.join(arguments)} failed:\n{done.stdout.decode(errors='replace')}")
        return done.stdout.decode()

    def database(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection of the owner's role; the caller closes it."""
        return psycopg.connect(self.environment()["DATABASE_URL"], autocommit=True)


def _role(command: str) -> str:
    return next((role for role, mark in _ROLE_MARKS if mark in command), "other")


def catalog(vendor_url: str, sink_url: str) -> str:
    """The bench's catalog document: limits counted and never reached, models, endpoints with targets of each mode.

    The vendor's name for the model differs from the callers', so that the body's `model` has to be spliced.
    """

    def targets(paths: Sequence[str]) -> str:
        return "".join(
            f"""
              - {{name: {path.strip("/")}, url: {sink_url}{path}, signing_secret_env: BENCH_SIGNING_SECRET}}"""
            for path in paths
        )

    return f"""
version: 1
rate_limits:
  - slug: bench-key
    rules:
      - {{meter: requests, amount: 100000000, window_seconds: 60}}
      - {{meter: concurrency, amount: 1000000, window_seconds: 120}}
  - slug: bench-policy
    rules:
      - {{meter: requests, amount: 100000000, window_seconds: 60}}
      - {{meter: tokens, amount: 1000000000000, window_seconds: 60}}
      - {{meter: cost, amount: 1000000000000, window_seconds: 3600}}
policies:
  - {{slug: bench, models: ["bench-*"], rate_limit: bench-policy}}
  - {{slug: bench-rates, models: ["bench-*"]}}
prices:
  - slug: bench-price
    rates:
      - {{meter: input, usd_per_million: 1.25}}
      - {{meter: cache_read, usd_per_million: 0.125}}
      - {{meter: output, usd_per_million: 10}}
hosts:
  - slug: bench-vendor
    base_url: {vendor_url}/v1
    idle_timeout_ms: 300000
    keys:
      - {{name: first, value_env: BENCH_VENDOR_KEY}}
      - {{name: second, value_env: BENCH_VENDOR_KEY}}
models:
  - name: {CHAT_MODEL}
    bindings:
      - {{host: bench-vendor, wire_shape: openai_chat, upstream_name: bench-upstream, pricing: bench-price}}
  - name: {IDLE_MODEL}
    bindings:
      - {{host: bench-vendor, wire_shape: openai_chat, upstream_name: bench-upstream-idle, pricing: bench-price}}
  - name: {TICKING_MODEL}
    bindings:
      - {{host: bench-vendor, wire_shape: openai_chat, upstream_name: bench-upstream-ticking, pricing: bench-price}}
  - name: {CROSS_MODEL}
    bindings:
      - {{host: bench-vendor, wire_shape: anthropic_messages, upstream_name: bench-upstream, pricing: bench-price}}
projects:
  - slug: {PROJECT}
    name: Bench
    relay_keys:
      - name: bench
        scopes: [relay, inference]
        policy: bench
        rate_limit: bench-key
        token_env: BENCH_RELAY_KEY
      - name: bench-rates
        scopes: [inference]
        policy: bench-rates
        rate_limit: bench-key
        token_env: BENCH_RATES_KEY
    lines:
      - slug: v1
        endpoints:
          - slug: events
            targets:{targets(TARGET_PATHS)}
          - slug: healthy
            targets:{targets(HEALTHY_TARGET_PATHS)}
          - slug: hung
            targets:
              - name: hung
                url: {sink_url}{HUNG_TARGET_PATH}
                timeout_seconds: {HUNG_TIMEOUT_SECONDS}
                signing_secret_env: BENCH_SIGNING_SECRET
          - slug: answers
            targets:
              - name: answers
                url: {vendor_url}{CHAT_PATH}
                delivery_mode: stream
                signing_secret_env: BENCH_SIGNING_SECRET
          - slug: lookup
            targets:
              - name: lookup
                url: {sink_url}{SYNC_TARGET_PATH}
                delivery_mode: sync
                signing_secret_env: BENCH_SIGNING_SECRET
"""


@contextmanager
def running(vendor_url: str, sink_url: str, folder: Path, *, edges: int = 1) -> Iterator[Product]:
    """The product with the bench's catalog live, in a new home under `folder`. BenchError when it does not come up.

    `folder` must be on a disk whose fsync is real, and open to others when the bench runs as root (Postgres does not).
    """
    home = Path(tempfile.mkdtemp(prefix="relay-bench-", dir=folder))
    home.chmod(0o711)
    log_path = home / "run.log"
    with log_path.open("wb") as log:
        supervisor = subprocess.Popen(
            tethered("standalone", "run"),
            cwd=ROOT,
            env=_environment(home, edges),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal reaches the bench alone, which then stops the product
        )
    try:
        credentials = _wait_until_ready(supervisor, home, log_path)
        relay_key, rates_key = tokens.mint(KeyMode.LIVE).token, tokens.mint(KeyMode.LIVE).token
        product = Product(home, supervisor.pid, credentials["edge_url"], relay_key, rates_key)
        document = home / "bench.yaml"
        document.write_text(catalog(vendor_url, sink_url))
        product.manage(
            *("catalog", "apply", str(document), "--yes"),
            BENCH_RELAY_KEY=relay_key,
            BENCH_RATES_KEY=rates_key,
            BENCH_SIGNING_SECRET=signing.new_secret(),
            BENCH_VENDOR_KEY=f"bench-{secrets.token_urlsafe(24)}",
        )
        _wait_until_live(product)
        yield product
    except BenchError as error:
        raise BenchError(f"{error}\nThe product's log ends:\n{_tail(log_path)}") from error
    finally:
        _stop(supervisor)
        shutil.rmtree(home, ignore_errors=True)


def _environment(home: Path, edges: int) -> dict[str, str]:
    """The shell's, without what it says about another relay."""
    edge, control, vendor, sink = free_ports(4)
    foreign = ("RELAY_", "DJANGO_", "DEMO_", "DATABASE_URL", "REDIS_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {
        "RELAY_HOME": str(home),
        "RELAY_PORT": str(edge),
        "RELAY_CONTROL_PORT": str(control),
        "RELAY_DEMO_VENDOR_PORT": str(vendor),
        "RELAY_DEMO_SINK_PORT": str(sink),
        "RELAY_EDGE_PROCESSES": str(edges),
    }


def _wait_until_ready(supervisor: subprocess.Popen[bytes], home: Path, log_path: Path) -> Mapping[str, str]:
    """The credentials, which are written when edge and control are ready."""
    path = home / "credentials.json"
    deadline = time.monotonic() + _READY_SECONDS
    while not path.exists():
        if supervisor.poll() is not None:
            raise BenchError(f"`python -m standalone run` ended with {supervisor.returncode} before it was ready.")
        if time.monotonic() > deadline:
            raise BenchError(f"`python -m standalone run` is not ready after {_READY_SECONDS:.0f} s; see {log_path}.")
        time.sleep(0.1)
    return dict(json.loads(path.read_text()))


def _wait_until_live(product: Product) -> None:
    """Until the edge knows the bench's key, model and endpoint."""
    body = json.dumps({"model": CHAT_MODEL, "messages": [{"role": "user", "content": "ping"}]}).encode()
    for path, expected in (
        (CHAT_PATH, 200),
        (ENDPOINT_PATH, 202),
        (HEALTHY_PATH, 202),
        (SYNC_PATH, 204),
        (STREAM_PATH, 200),
    ):
        deadline = time.monotonic() + _LIVE_SECONDS
        while (said := post(product, path, body, product.relay_key))[0] != expected:
            if time.monotonic() > deadline:
                raise BenchError(f"{path} answers {said[0]} and not {expected}: {said[1]}")
            time.sleep(0.1)


def post(product: Product, path: str, body: bytes, key: str) -> tuple[int, str]:
    """Status of one call, and of a failed one what was said."""
    request = urllib.request.Request(product.edge_url + path, data=body, method="POST")
    request.add_header("Authorization", f"Bearer {key}")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(500).decode(errors="replace")


def _stop(supervisor: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does; a supervisor that does not end in time is killed, and the kernel takes its children along."""
    if supervisor.poll() is None:
        supervisor.send_signal(signal.SIGINT)
    try:
        supervisor.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-3000:]
