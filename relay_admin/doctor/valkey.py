"""Valkey or Redis: its version, what it does when it is full, whether it outlives a restart, our scripts."""

from collections.abc import Iterator, Mapping
from typing import Any

import redis

from relay_admin.doctor.finding import Finding, broken, ok, some_of, warning
from relay_contract.redis import scripts

OLDEST_VERSION = 7
FULL_SHARE = 0.8
NOEVICTION = "noeviction"


def away(reason: str) -> Finding:
    """The one finding of a server that does not answer."""
    return broken(
        "redis.reachable",
        reason,
        "Start it, or correct REDIS_URL. Meanwhile limits fall back to shares and prepaid calls are refused.",
    )


def examine(client: redis.Redis) -> Iterator[Finding]:
    """Raises redis.RedisError when the server goes away meanwhile."""
    told: Mapping[str, Any] = client.info()
    yield ok("redis.reachable", "answers")
    yield version(str(told.get("valkey_version") or told["redis_version"]), is_valkey="valkey_version" in told)
    yield role(str(told.get("role", "master")))
    yield eviction(str(told.get("maxmemory_policy", NOEVICTION)))
    yield memory(int(told.get("used_memory", 0)), int(told.get("maxmemory", 0)))
    yield persistence(
        has_log=bool(told.get("aof_enabled")),
        has_failed="err" in (told.get("aof_last_write_status"), told.get("rdb_last_bgsave_status")),
    )
    yield loaded({script.name: _load(client, script) for script in scripts.ALL})


def version(said: str, *, is_valkey: bool) -> Finding:
    """Both count from 7 on."""
    shown = f"{'Valkey' if is_valkey else 'Redis'} {said}"
    if int(said.partition(".")[0]) < OLDEST_VERSION:
        return broken("redis.version", shown, "Upgrade it to 7 or newer.")
    return ok("redis.version", shown)


def role(said: str) -> Finding:
    """A replica takes no writes."""
    if said != "master":
        return broken("redis.role", f"it is a {said}", "Let REDIS_URL name the primary: a replica takes no writes.")
    return ok("redis.role", "it is the primary")


def eviction(policy: str) -> Finding:
    """A server that drops keys drops limits, purses and answers that were promised to be kept."""
    if policy != NOEVICTION:
        return broken(
            "redis.eviction",
            f"maxmemory-policy is {policy}",
            f"Set maxmemory-policy to {NOEVICTION}: others forget limits and money when memory is short.",
        )
    return ok("redis.eviction", f"maxmemory-policy is {policy}")


def memory(used_bytes: int, most_bytes: int) -> Finding:
    """`most_bytes` 0: no limit of its own."""
    shown = f"{used_bytes / 2**20:.0f} MiB used of {f'{most_bytes / 2**20:.0f} MiB' if most_bytes else 'no set limit'}"
    if most_bytes and used_bytes >= FULL_SHARE * most_bytes:
        return warning("redis.memory", shown, "Raise maxmemory: a full server refuses to count, and calls are refused.")
    return ok("redis.memory", shown)


def persistence(*, has_log: bool, has_failed: bool) -> Finding:
    """What is lost without it can be rebuilt, at a price."""
    if has_failed:
        return warning("redis.persistence", "its last write to disk failed", "See its log, and its disk.")
    if not has_log:
        return warning(
            "redis.persistence",
            "no append-only file",
            "Set appendonly yes: without it a restart forgets what limits counted and which calls were made once.",
        )
    return ok("redis.persistence", "append-only file")


def loaded(faults: Mapping[str, str]) -> Finding:
    """`faults`: by script, why the server does not take it; "" where it does."""
    wrong = [f"{name}: {fault}" for name, fault in faults.items() if fault]
    if wrong:
        return broken(
            "redis.scripts",
            some_of(wrong, 1),
            "Allow EVALSHA and SCRIPT LOAD to this user (ACL), on a server of 7 or newer.",
        )
    return ok("redis.scripts", f"{len(faults)} load")


def _load(client: redis.Redis, script: scripts.Script) -> str:
    try:
        client.script_load(script.text)
    except redis.ResponseError as error:
        return str(error)[:120]
    return "" if client.script_exists(script.sha1) == [True] else "has another hash there"
