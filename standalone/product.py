"""What runs: each process' command, environment and place in the stop order. The rooms' code is never imported here.

Secrets travel in environments, never in arguments: anybody on the machine may list those.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from relay_contract.env import Env
from standalone.embedded import LOOPBACK
from standalone.home import Credentials, Secrets
from standalone.supervisor import Program

CHECKOUT = Path(__file__).resolve().parent.parent
DEMO_CATALOG = Path("standalone") / "demo.yaml"
WRITTEN_VENDOR_URL = f"http://{LOOPBACK}:8090"
WRITTEN_SINK_URL = f"http://{LOOPBACK}:8091"
DEMO_PROJECT = "demo"
ADMIN_USERNAME = "admin"
WORKER_THREADS = 32
GRACE_SECONDS = 10.0  # beyond what a process gives the work it has in flight

# The edge first, so that callers are drained while everything behind it still works.
STOP_ORDER_PREFIXES = ("edge", "worker", "schedule", "control")

SECRET_VARIABLES = {
    "DATABASE_URL",
    "REDIS_URL",
    "RELAY_EDGE_DATABASE_URL",
    "RELAY_SECRET_KEY",
    "RELAY_MASTER_KEY",
    "RELAY_PREVIOUS_MASTER_KEYS",
    "RELAY_VAULT_TOKEN",
}


@dataclass(slots=True, frozen=True)
class Options:
    """How a standalone relay is run: what the operator may set."""

    home: Path
    edge_port: int
    control_port: int
    vendor_port: int
    sink_port: int
    postgres_port: int  # 0 chooses a free one
    valkey_port: int
    workers: int
    edge_shutdown_seconds: float  # what the edge gives requests in flight
    worker_grace_seconds: float  # what a worker gives deliveries in flight
    database_url: str | None  # None: embedded
    redis_url: str | None
    inherited: Mapping[str, str]  # the operator's whole environment; what is set there wins over our defaults

    @property
    def edge_url(self) -> str:
        return f"http://{LOOPBACK}:{self.edge_port}"

    @property
    def control_url(self) -> str:
        return f"http://{LOOPBACK}:{self.control_port}"

    @property
    def vendor_url(self) -> str:
        return f"http://{LOOPBACK}:{self.vendor_port}"

    @property
    def sink_url(self) -> str:
        return f"http://{LOOPBACK}:{self.sink_port}"

    @property
    def ports(self) -> dict[str, int]:
        """Every port that is fixed before the start, by the variable that sets it."""
        fixed = {
            "RELAY_PORT": self.edge_port,
            "RELAY_CONTROL_PORT": self.control_port,
            "RELAY_DEMO_VENDOR_PORT": self.vendor_port,
            "RELAY_DEMO_SINK_PORT": self.sink_port,
        }
        if self.postgres_port and self.database_url is None:
            fixed["RELAY_POSTGRES_PORT"] = self.postgres_port
        if self.valkey_port and self.redis_url is None:
            fixed["RELAY_VALKEY_PORT"] = self.valkey_port
        return fixed


def read_options(environ: Mapping[str, str]) -> Options:
    """Options out of environment variables. Raises ConfigurationError with every mistake in it."""
    env = Env(environ)
    options = Options(
        home=Path(env.text("RELAY_HOME", str(CHECKOUT / ".relay"))),
        edge_port=env.integer("RELAY_PORT", 8080, 1, 65_535),
        control_port=env.integer("RELAY_CONTROL_PORT", 8081, 1, 65_535),
        vendor_port=env.integer("RELAY_DEMO_VENDOR_PORT", 8090, 1, 65_535),
        sink_port=env.integer("RELAY_DEMO_SINK_PORT", 8091, 1, 65_535),
        postgres_port=env.integer("RELAY_POSTGRES_PORT", 0, 0, 65_535),
        valkey_port=env.integer("RELAY_VALKEY_PORT", 0, 0, 65_535),
        workers=env.integer("RELAY_WORKERS", 1, 1, 64),
        edge_shutdown_seconds=env.seconds("RELAY_SHUTDOWN_SECONDS", 15, 0, 600),
        worker_grace_seconds=env.seconds("RELAY_DELIVERY_GRACE_SECONDS", 10, 0, 120),
        database_url=env.url("DATABASE_URL", default="") or None,
        redis_url=env.url("REDIS_URL", ("redis", "rediss", "unix"), default="") or None,
        inherited=dict(environ),
    )
    env.done()
    return options


def variables(options: Options, secrets: Secrets, database_url: str, redis_url: str) -> dict[str, str]:
    """What the product's processes need to know, where the operator's environment does not say it."""
    own = {
        "RELAY_SECRET_KEY": secrets.secret_key,
        "RELAY_MASTER_KEY": secrets.master_key,
        "RELAY_EDGE_DATABASE_URL": _edge_database_url(database_url, secrets.edge_database_password),
        "RELAY_EDGE_URL": options.edge_url,
        "RELAY_CONTROL_URL": options.control_url,
        "RELAY_SPILL_DIR": str(options.home / "spill"),
        "RELAY_EGRESS_ALLOW": "127.0.0.0/8 ::1/128",  # the demo's targets and vendor are on this machine
    }
    given = {name for name, value in options.inherited.items() if value.strip()}
    # A secret given as a file counts as given: both would be refused.
    return {
        **{name: value for name, value in own.items() if name not in given and f"{name}_FILE" not in given},
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "RELAY_PORT": str(options.edge_port),
        "RELAY_CONTROL_PORT": str(options.control_port),
    }


def environment(options: Options, own: Mapping[str, str]) -> dict[str, str]:
    """What every process of the product is started with: the operator's environment and our `variables`."""
    return {**_without_files_of(own, options.inherited), **own, "PYTHONUNBUFFERED": "1"}


def prepare_command(catalog: Path | None) -> list[str]:
    """Everything between an empty database and one that is ready, in one process: see `manage.py help prepare`."""
    return [
        *(sys.executable, str(CHECKOUT / "manage.py"), "prepare"),
        *(["--catalog", str(catalog)] if catalog else []),
    ]


def demo_catalog(options: Options) -> str:
    """The demo's catalog document with the addresses that its helpers have this time."""
    text = (CHECKOUT / DEMO_CATALOG).read_text(encoding="utf-8")
    return text.replace(WRITTEN_VENDOR_URL, options.vendor_url).replace(WRITTEN_SINK_URL, options.sink_url)


def demo_variables(secrets: Secrets) -> dict[str, str]:
    """What the demo catalog refers to by variable; an export of it does so too."""
    return {
        "RELAY_BOOTSTRAP_RELAY_KEY": secrets.relay_key,
        "DEMO_VENDOR_API_KEY": secrets.demo_vendor_api_key,
        "DEMO_SINK_SECRET": secrets.demo_sink_secret,
    }


def prepare_environment(base: Mapping[str, str], secrets: Secrets) -> dict[str, str]:
    """The first admin's credentials, and what the demo catalog refers to by variable."""
    own = {
        "RELAY_BOOTSTRAP_ADMIN_USERNAME": ADMIN_USERNAME,
        "RELAY_BOOTSTRAP_ADMIN_PASSWORD": secrets.admin_password,
        "RELAY_BOOTSTRAP_ADMIN_TOKEN": secrets.admin_token,
        **demo_variables(secrets),
    }
    return {**_without_files_of(own, base), **own}


def demo_programs(base: Mapping[str, str], options: Options, secrets: Secrets) -> list[Program]:
    """The fake vendor and the sink: they need no database, so they start first."""
    quiet = {name: value for name, value in base.items() if name not in SECRET_VARIABLES} | {
        "RELAY_DEMO_VENDOR_PORT": str(options.vendor_port),
        "RELAY_DEMO_SINK_PORT": str(options.sink_port),
    }
    return [
        Program(
            "vendor",
            [sys.executable, "-m", "standalone", "demo-vendor"],
            {**quiet, "DEMO_VENDOR_API_KEY": secrets.demo_vendor_api_key},
            CHECKOUT,
            grace_seconds=3,
        ),
        Program(
            "sink",
            [sys.executable, "-m", "standalone", "demo-sink"],
            {**quiet, "DEMO_SINK_SECRET": secrets.demo_sink_secret},
            CHECKOUT,
            grace_seconds=3,
        ),
    ]


def programs(base: Mapping[str, str], options: Options) -> list[Program]:
    """Control, edge, workers, schedule: in the order they are started."""
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "delivery.app"]
    control = [
        *(sys.executable, "-m", "uvicorn", "relay_admin.asgi:application"),
        *("--host", LOOPBACK, "--port", str(options.control_port), "--no-access-log", "--log-level", "warning"),
        *("--timeout-graceful-shutdown", "5"),
    ]
    worker = [
        *(*celery, "worker", "--pool", "threads", "--concurrency", str(WORKER_THREADS)),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"),
    ]
    # The edge serves strangers: it gets neither the owner's database role nor Django's key.
    edge_environment = {name: value for name, value in base.items() if name not in {"DATABASE_URL", "RELAY_SECRET_KEY"}}
    edge_grace_seconds = options.edge_shutdown_seconds + GRACE_SECONDS
    worker_grace_seconds = options.worker_grace_seconds + GRACE_SECONDS
    numbered = [f"worker{n}" if options.workers > 1 else "worker" for n in range(1, options.workers + 1)]
    return [
        Program("edge", [sys.executable, "-m", "relay_edge"], edge_environment, CHECKOUT, edge_grace_seconds),
        Program("control", control, base, CHECKOUT),
        *(
            Program(name, [*worker, "--hostname", f"{name}@%h"], _with_lane(base, lane), CHECKOUT, worker_grace_seconds)
            for name, lane in (*((name, "async") for name in numbered), ("worker-sync", "sync"))
        ),
        Program("schedule", [*celery, "beat", "--loglevel", "WARNING"], base, CHECKOUT),
    ]


def _with_lane(base: Mapping[str, str], lane: str) -> dict[str, str]:
    """A worker of one lane, so that no backlog is before callers who wait. Two of them cannot share a metrics port:
    that of the sync lane is the next one."""
    port = base.get("RELAY_WORKER_METRICS_PORT", "").strip()
    own = {"RELAY_DELIVERY_LANES": lane}
    if lane == "sync" and port.isdigit() and int(port):
        own["RELAY_WORKER_METRICS_PORT"] = str(int(port) + 1)
    return {**base, **own}


def credentials(options: Options, secrets: Secrets) -> Credentials:
    return Credentials(
        edge_url=options.edge_url,
        control_url=options.control_url,
        admin_username=ADMIN_USERNAME,
        admin_password=secrets.admin_password,
        admin_token=secrets.admin_token,
        project=DEMO_PROJECT,
        relay_key=secrets.relay_key,
    )


def next_steps(options: Options, credentials_file: Path) -> str:
    """What to do next, ready to paste. The relay key is read from the file, so that it is in no shell history."""
    shown = _relative(credentials_file)
    return f"""
Relay is ready.

  Admin        {options.control_url}/admin/   user {ADMIN_USERNAME}, password in {shown} (admin_password)
  Demo sink    {options.sink_url}/   what the demo's targets received; `flaky` fails until you let it recover there

  RELAY_KEY=$(python3 -c "import json; print(json.load(open('{shown}'))['relay_key'])")

  # a model (fake: the demo vendor on this machine), the whole answer
  curl {options.edge_url}/v1/chat/completions -H "Authorization: Bearer $RELAY_KEY" \\
    -H 'Content-Type: application/json' \\
    -d '{{"model":"demo-gpt","messages":[{{"role":"user","content":"Hello, relay"}}]}}'

  # another, streamed
  curl -N {options.edge_url}/v1/messages -H "x-api-key: $RELAY_KEY" -H 'anthropic-version: 2023-06-01' \\
    -H 'Content-Type: application/json' \\
    -d '{{"model":"demo-claude","max_tokens":100,"stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'

  # one call, delivered to three targets; one of them fails, is retried, and ends in the failure queue
  curl {options.edge_url}/r/{DEMO_PROJECT}/v1/events -H "Authorization: Bearer $RELAY_KEY" \\
    -H 'Content-Type: application/json' -d '{{"type":"order.created","order":42}}'

  # the same, and the answer of one target is the caller's
  curl -i {options.edge_url}/r/{DEMO_PROJECT}/v1/lookup -H "Authorization: Bearer $RELAY_KEY" \\
    -H 'Content-Type: application/json' -d '{{"customer":42}}'

Ctrl-C stops everything; the data stays in {_relative(options.home)}.
"""


def _relative(path: Path) -> str:
    """The path as it is shortest from here, for people to paste."""
    resolved, here = path.resolve(), Path.cwd()
    return str(resolved.relative_to(here)) if resolved.is_relative_to(here) else str(resolved)


def _without_files_of(own: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Without NAME_FILE where we set NAME: a process that finds both does not know whom to believe."""
    return {name: value for name, value in environment.items() if name.removesuffix("_FILE") not in own or name in own}


def _edge_database_url(database_url: str, password: str) -> str:
    """The same database under the edge's role, which `manage.py edge_role` makes."""
    parts = urlsplit(database_url)
    address = parts.netloc.rsplit("@", 1)[-1]
    return parts._replace(netloc=f"relay_edge:{quote(password, safe='')}@{address}").geturl()
