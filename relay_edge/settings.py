"""The edge's settings, read once at start. `.env.example` describes each for operators."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from relay_contract.env import Env
from relay_contract.netguard import Network
from relay_edge.capture import CAPTURE_BYTES
from relay_edge.pings import PING_SECONDS
from relay_edge.protocols.anthropic_messages.betas import DEFAULT_NAME

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
MAX_PROCESSES = 64


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """URLs and the key are secrets: they stay out of `repr`."""

    database_url: str = field(repr=False)  # the restricted role
    redis_url: str = field(repr=False)
    master_keys: tuple[bytes, ...] = field(repr=False)  # of 32 bytes; open host keys
    environment: Mapping[str, str] = field(repr=False)  # what `env:NAME` of a host key may name
    vault_address: str  # "" for none
    vault_token: str = field(repr=False)
    bind: str  # address to listen on
    port: int
    shares_port: bool  # with another edge on this machine, while one replaces the other
    processes: int
    top_up_url: str  # where callers buy credits, told with a 402; "" for nowhere
    control_url: str  # as people reach the control plane, which issues access tokens
    edge_url: str  # as callers reach the edge, which access tokens are for
    domain: str  # {project}.<domain> names a project; "" for none. Lower case, without a dot at either end.
    max_body_bytes: int  # of a call to a model; endpoints carry their own limit
    idempotency_seconds: float  # for how long an answer is kept for who sends its call again
    idempotency_max_bytes: int  # of one answer
    idempotency_project_bytes: int  # of all answers of a project
    body_timeout_seconds: float  # from the head of a request to the end of its body
    ping_seconds: float  # of quiet in a stream, before the caller is sent a keep-alive; 0: none is sent
    anthropic_betas: str  # patterns by comma, as in `AllowedBetas`
    shutdown_seconds: float  # what requests in flight get after SIGTERM
    trusted_proxies: tuple[Network, ...]  # whose X-Forwarded-For is believed
    egress_allow: tuple[Network, ...]  # networks that hosts may be in although they are not public
    spill_folder: Path  # on a disk of this machine; rows of calls wait there while Postgres is away
    spill_max_bytes: int  # of each process
    metrics_token: str = field(repr=False)  # for /metrics; "" tells them to this machine only
    log_level: str
    trace_share: float  # of the calls that nothing was remarkable about
    trace_slow_seconds: float
    capture_bytes: int  # of each captured body
    has_access_log: bool
    otlp_endpoint: str  # "" exports no spans
    otlp_headers: str = field(repr=False)  # `name=value`, by comma

    def secrets(self) -> tuple[str, ...]:
        """The relay's own secrets as they may be written: none of them is ever a host's credential."""
        urls = (self.database_url, self.redis_url)
        passwords = (unquote(urlsplit(url).password or "") for url in urls)
        keys = (base64.b64encode(key).decode() for key in self.master_keys)
        written = (value.strip() for name, value in self.environment.items() if name.startswith("RELAY_"))
        return (*urls, *passwords, *keys, *written, self.vault_token)

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "EdgeSettings":
        """Settings out of environment variables. Raises ConfigurationError with every mistake in it."""
        env = Env(environ)
        port = env.integer("RELAY_PORT", 8080, 1, 65_535)
        settings = cls(
            database_url=env.url("RELAY_EDGE_DATABASE_URL"),
            redis_url=env.url("REDIS_URL", ("redis", "rediss", "unix")),
            master_keys=env.master_keys(),
            environment=environ,
            vault_address=env.url("RELAY_VAULT_ADDR", ("https", "http"), ""),
            vault_token=env.secret("RELAY_VAULT_TOKEN", ""),
            bind=env.text("RELAY_BIND", "127.0.0.1"),
            port=port,
            shares_port=env.boolean("RELAY_SHARE_PORT", False),
            processes=env.integer("RELAY_EDGE_PROCESSES", min(os.cpu_count() or 1, MAX_PROCESSES), 1, MAX_PROCESSES),
            top_up_url=env.url("RELAY_TOP_UP_URL", ("http", "https"), ""),
            control_url=env.url("RELAY_CONTROL_URL", ("http", "https"), "http://127.0.0.1:8081").rstrip("/"),
            edge_url=env.url("RELAY_EDGE_URL", ("http", "https"), f"http://127.0.0.1:{port}").rstrip("/"),
            domain=env.text("RELAY_DOMAIN", "").strip(".").lower(),
            max_body_bytes=env.integer("RELAY_MAX_BODY_BYTES", 33_554_432, 1_024, 268_435_456),
            idempotency_seconds=env.seconds("RELAY_IDEMPOTENCY_SECONDS", 600, 1, 86_400),
            idempotency_max_bytes=env.integer("RELAY_IDEMPOTENCY_MAX_BYTES", 262_144, 1_024, 4_194_304),
            idempotency_project_bytes=env.integer(
                "RELAY_IDEMPOTENCY_PROJECT_BYTES", 67_108_864, 1_048_576, 1_099_511_627_776
            ),
            body_timeout_seconds=env.seconds("RELAY_BODY_TIMEOUT_SECONDS", 30, 1, 600),
            ping_seconds=env.seconds("RELAY_PING_SECONDS", PING_SECONDS, 0, 600),
            anthropic_betas=env.text("RELAY_ANTHROPIC_BETAS", DEFAULT_NAME),
            shutdown_seconds=env.seconds("RELAY_SHUTDOWN_SECONDS", 15, 0, 600),
            trusted_proxies=env.networks("RELAY_TRUSTED_PROXIES"),
            egress_allow=env.networks("RELAY_EGRESS_ALLOW"),
            spill_folder=Path(env.text("RELAY_SPILL_DIR", ".relay/spill")),
            spill_max_bytes=env.integer("RELAY_SPILL_MAX_BYTES", 268_435_456, 1_048_576, 1_099_511_627_776),
            metrics_token=env.secret("RELAY_METRICS_TOKEN", ""),
            log_level=env.text("RELAY_LOG_LEVEL", "INFO", LOG_LEVELS),
            trace_share=env.share("RELAY_TRACE_SHARE", 0.1),
            trace_slow_seconds=env.seconds("RELAY_TRACE_SLOW_SECONDS", 30, 0, 3600),
            capture_bytes=env.integer("RELAY_CAPTURE_BYTES", CAPTURE_BYTES, 1_024, 1_048_576),
            has_access_log=env.boolean("RELAY_ACCESS_LOG", False),
            otlp_endpoint=env.url("RELAY_OTLP_ENDPOINT", ("http", "https"), ""),
            otlp_headers=env.secret("RELAY_OTLP_HEADERS", ""),
        )
        env.done()
        return settings
