"""The workers' settings, read once at start. `.env.example` describes each for operators."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay_contract.env import Env
from relay_contract.netguard import Network

ASYNC, SYNC = "async", "sync"
LANES = (ASYNC, SYNC)
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True)
class Settings:
    """URLs and the key are secrets: they stay out of `repr`."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    master_keys: tuple[bytes, ...] = field(repr=False)  # of 32 bytes; open the targets' signing secrets
    egress_allow: tuple[Network, ...]  # networks that targets may be in although they are not public
    lanes: frozenset[str]  # of LANES: what this process delivers
    sync_in_flight: int  # sync deliveries at once in one worker process
    in_flight: int  # deliveries at once in one worker process, from claim to recorded result
    in_flight_per_target: int  # of them, to one target
    grace_seconds: float  # what sends in flight get at shutdown before they are given back to the queue
    call_retention_days: int  # rows of calls to models
    trace_retention_days: int  # how they came to their answers, and breakers that changed
    capture_retention_days: int  # what they sent and received, where that is kept
    retention_days: int  # requests older than this are forgotten, unless something of them is still to be delivered
    payload_retention_days: int  # and their bodies; sooner where requests are
    ledger_retention_days: int  # what deliveries cost
    audit_retention_days: int  # who changed what
    metrics_port: int  # 0: no metrics page
    log_level: str


def read(environ: Mapping[str, str]) -> Settings:
    """Settings out of environment variables. Raises ConfigurationError with every mistake in it."""
    env = Env(environ)
    settings = Settings(
        database_url=env.url("DATABASE_URL"),
        redis_url=env.url("REDIS_URL", ("redis", "rediss", "unix")),
        master_keys=env.master_keys(),
        egress_allow=env.networks("RELAY_EGRESS_ALLOW"),
        lanes=frozenset(env.texts("RELAY_DELIVERY_LANES", LANES, LANES)),
        sync_in_flight=env.integer("RELAY_SYNC_IN_FLIGHT", 128, 1, 4096),
        in_flight=env.integer("RELAY_DELIVERY_IN_FLIGHT", 256, 1, 4096),
        in_flight_per_target=env.integer("RELAY_DELIVERY_IN_FLIGHT_PER_TARGET", 64, 1, 4096),
        grace_seconds=env.seconds("RELAY_DELIVERY_GRACE_SECONDS", 10, 0, 120),
        retention_days=env.integer("RELAY_RETENTION_DAYS", 30, 1, 3650),
        payload_retention_days=env.integer("RELAY_PAYLOAD_RETENTION_DAYS", 7, 4, 3650),
        ledger_retention_days=env.integer("RELAY_LEDGER_RETENTION_DAYS", 400, 31, 3650),
        audit_retention_days=env.integer("RELAY_AUDIT_RETENTION_DAYS", 730, 1, 3650),
        call_retention_days=env.integer("RELAY_CALL_RETENTION_DAYS", 90, 1, 3650),
        trace_retention_days=env.integer("RELAY_TRACE_RETENTION_DAYS", 14, 1, 3650),
        capture_retention_days=env.integer("RELAY_CAPTURE_RETENTION_DAYS", 7, 1, 3650),
        metrics_port=env.integer("RELAY_WORKER_METRICS_PORT", 0, 0, 65_535),
        log_level=env.text("RELAY_LOG_LEVEL", "INFO", LOG_LEVELS),
    )
    env.done()
    return settings
