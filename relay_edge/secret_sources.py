"""Values of host keys that are read from elsewhere: `env:NAME`, `file:/path`, `vault:https://host/v1/path#field`.

A background task reads what the catalog refers to and keeps it; requests look into memory and wait for nothing. The
last good value stays when its source fails, and the failure shows in `/readyz`, a metric and one log line. A value that
changed makes a new snapshot, so that nothing prepared from the old one is used on.

| source | read |
|---|---|
| env | once: a process' environment does not change |
| file | when its modification time, size or inode changed, looked at each second |
| vault | each VAULT_SECONDS |

A source that fails is read again after FIRST_RETRY_SECONDS, then ever more seldom. What a reference may not do: read
the relay's own secrets (by name or by value), devices or `/proc`, or send the vault's token anywhere but to its
address.
"""

import asyncio
import logging
import re
import stat
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from relay_contract.logs import log_fields
from relay_contract.sealing import SealFault, SealingError
from relay_edge.metrics import Metrics
from relay_edge.vault import Vault, VaultError

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
VAULT_SECONDS = 300.0
FIRST_RETRY_SECONDS = 2.0
MAX_RETRY_SECONDS = 60.0
REFRESH_SECONDS = 5.0
"""A refresh that was asked for comes at most so often: a key that its vendor refuses must not flood its source."""
MAX_FILE_BYTES = 8_192

_VALUE = re.compile(r"[!-~]{1,4096}")
_OWN_NAMES = re.compile(r"RELAY_.*|DATABASE_URL|REDIS_URL|.*POSTGRES_PASSWORD|VALKEY_PASSWORD")
_FORBIDDEN_ROOTS = ("/proc/", "/sys/", "/dev/")

FileState = tuple[int, int, int]


class SecretUnreadableError(Exception):
    """A source gave no usable value. The text says why; it never holds what was read."""


@dataclass(slots=True)
class _Held:
    """What is known of one reference."""

    value: str | None = None
    problem: str = "it was not read yet"
    due_at: float = 0.0  # of time.monotonic()
    retry_seconds: float = FIRST_RETRY_SECONDS
    read_at: float = float("-inf")
    file_state: FileState | None = None
    reading: "asyncio.Task[bool] | None" = None


class SecretSources:
    """All references of one process."""

    def __init__(
        self, environment: Mapping[str, str], own_secrets: Collection[str], vault: Vault, metrics: Metrics
    ) -> None:
        """`own_secrets`: values of the relay's own, which no host may be sent."""
        self._environment = environment
        self._own_secrets = frozenset(own_secrets) - {""}
        self._vault = vault
        self._held: dict[str, _Held] = {}
        self._on_change: Callable[[], None] = lambda: None
        self._wanted: Callable[[], frozenset[str]] = frozenset
        registry = metrics.registry
        self._failures = registry.counter(
            "relay_edge_secret_failures_total", "Reads of host keys' sources that failed."
        )
        registry.gauge(
            "relay_edge_secrets_failing",
            "Host keys' sources that give no value at the moment.",
            "max",
            lambda: float(len(self.problems())),
        )

    def follow(self, wanted: Callable[[], frozenset[str]], on_change: Callable[[], None]) -> None:
        """`wanted`: the references of the catalog as it is. `on_change` is called when a value became another."""
        self._wanted, self._on_change = wanted, on_change

    def value(self, reference: str) -> str:
        """What was read last. Raises SealingError when nothing was."""
        held = self._held.get(reference)
        if held is None or held.value is None:
            problem = "it was not read yet" if held is None else held.problem
            raise SealingError(SealFault.UNREADABLE, f"{reference} gives no value: {problem}")
        return held.value

    def problems(self) -> dict[str, str]:
        """Reference -> why its source gives no value at the moment."""
        return {reference: held.problem for reference, held in self._held.items() if held.problem}

    def counts(self) -> dict[str, int]:
        """For `/readyz`: how many there are, how many fail, how many of those have no value to go on with."""
        problems = self.problems()
        without = sum(self._held[reference].value is None for reference in problems)
        return {"references": len(self._held), "failing": len(problems), "without_value": without}

    async def run(self) -> None:
        """For the life of the process; ends by cancellation."""
        while True:
            await self.look()
            await asyncio.sleep(TICK_SECONDS)

    async def look(self) -> None:
        """Reads what is new or due, all at once, and forgets what the catalog does not name any more."""
        wanted = self._wanted()
        for gone in self._held.keys() - wanted:
            del self._held[gone]
        now = time.monotonic()
        due = [reference for reference in wanted if self._held.setdefault(reference, _Held()).due_at <= now]
        changed = await asyncio.gather(*(self._read_once(reference) for reference in due))
        if any(changed):
            self._on_change()

    async def refresh(self, reference: str) -> bool:
        """Reads a source now, unless that was done a moment ago; whether the value became another."""
        held = self._held.get(reference)
        if held is None or (held.reading is None and time.monotonic() - held.read_at < REFRESH_SECONDS):
            return False
        held.file_state = None
        changed = await self._read_once(reference)
        if changed:
            self._on_change()
        return changed

    async def _read_once(self, reference: str) -> bool:
        """Callers of one moment share one read; one that leaves does not end it."""
        held = self._held[reference]
        if held.reading is None:
            held.reading = asyncio.create_task(self._read(reference, held))
            held.reading.add_done_callback(lambda _: setattr(held, "reading", None))
        return await asyncio.shield(held.reading)

    async def _read(self, reference: str, held: _Held) -> bool:
        held.read_at = time.monotonic()
        try:
            value, file_state = await self._resolve(reference, held)
        except (SecretUnreadableError, VaultError) as error:
            self._failed(reference, held, str(error))
            return False
        held.due_at = time.monotonic() + (VAULT_SECONDS if reference.startswith("vault:") else TICK_SECONDS)
        held.retry_seconds = FIRST_RETRY_SECONDS
        if held.problem and held.value is not None:
            logger.info("secret_readable_again", extra=log_fields(reference=reference))
        held.problem = ""
        changed = value != held.value
        held.value, held.file_state = value, file_state
        return changed

    def _failed(self, reference: str, held: _Held, problem: str) -> None:
        self._failures.add()
        if held.problem != problem:
            fields = log_fields(reference=reference, problem=problem, keeps_last=held.value is not None)
            logger.error("secret_unreadable", extra=fields)
        held.problem = problem
        held.due_at = time.monotonic() + held.retry_seconds
        held.retry_seconds = min(2 * held.retry_seconds, MAX_RETRY_SECONDS)

    async def _resolve(self, reference: str, held: _Held) -> tuple[str, FileState | None]:
        """A usable value, and the file as it was then. Raises SecretUnreadableError or VaultError."""
        kind, _, place = reference.partition(":")
        state: FileState | None = None
        match kind:
            case "env":
                value = held.value if held.value is not None else self._variable(place)
            case "file":
                value, state = await asyncio.to_thread(_file_value, place, held.file_state, held.value)
            case "vault":
                value = await self._vault.read(place)
            case _:
                raise SecretUnreadableError("only env:, file: and vault: are read")
        if not _VALUE.fullmatch(value):
            raise SecretUnreadableError("it is not 1 to 4096 printable ASCII characters without spaces")
        if value in self._own_secrets:
            raise SecretUnreadableError("it is one of the relay's own secrets")
        return value, state

    def _variable(self, name: str) -> str:
        if _OWN_NAMES.fullmatch(name):
            raise SecretUnreadableError("it is one of the relay's own variables")
        value = self._environment.get(name, "").strip()
        if not value:
            raise SecretUnreadableError("the edge was started without this variable")
        return value


def _file_value(path: str, known: FileState | None, value: str | None) -> tuple[str, FileState]:
    """A file's text without its last line break, read where it changed. Blocking. Raises SecretUnreadableError."""
    try:
        real = Path(path).resolve(strict=True)
        if f"{real}/".startswith(_FORBIDDEN_ROOTS):
            raise SecretUnreadableError("it is no file of a disk")
        found = real.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SecretUnreadableError("it is no regular file")
        state = (found.st_mtime_ns, found.st_size, found.st_ino)
        if state == known and value is not None:
            return value, state
        with real.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        raise SecretUnreadableError(getattr(error, "strerror", None) or type(error).__name__) from None
    if len(content) > MAX_FILE_BYTES:
        raise SecretUnreadableError(f"it is larger than {MAX_FILE_BYTES} bytes")
    return content.decode("latin-1").rstrip("\r\n"), state
