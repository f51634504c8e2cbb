"""RELAY_HOME: the one folder with everything a standalone relay keeps. Its secrets are made at the first start.

lock               held while a relay runs on the folder
secrets.json       0600: keys and passwords, never shown, never default; lose it and sealed values are lost
credentials.json   0600: what an operator or a test needs to use the relay; there once the relay is ready
demo-catalog       there once the demo catalog was loaded: later starts keep the operators' changes
postgres*, valkey* the embedded servers' data, passwords and logs
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

from relay_contract import signing, tokens
from relay_contract.nouns import KeyMode
from standalone import embedded
from standalone.embedded import StandaloneError


class AlreadyRunningError(StandaloneError):
    """Another relay runs on the folder."""


@dataclass(slots=True, frozen=True)
class Secrets:
    """Made once. The text of each is what the variable of the same meaning takes."""

    secret_key: str  # Django's
    master_key: str  # base64 of 32 bytes: seals host keys and signing secrets
    edge_database_password: str
    admin_password: str
    admin_token: str
    relay_key: str
    demo_vendor_api_key: str
    demo_sink_secret: str  # whsec_...

    @classmethod
    def new(cls) -> Secrets:
        return cls(
            secret_key=secrets.token_urlsafe(48),
            master_key=base64.b64encode(secrets.token_bytes(32)).decode(),
            edge_database_password=secrets.token_urlsafe(24),
            admin_password=secrets.token_urlsafe(18),
            admin_token=tokens.mint_admin().token,
            relay_key=tokens.mint(KeyMode.LIVE).token,
            demo_vendor_api_key=f"demo-{secrets.token_urlsafe(24)}",
            demo_sink_secret=signing.new_secret(),
        )


@dataclass(slots=True, frozen=True)
class Credentials:
    """What `credentials.json` holds."""

    edge_url: str
    control_url: str
    admin_username: str
    admin_password: str
    admin_token: str
    project: str
    relay_key: str


class Home:
    """The folder, locked for this process until `close`."""

    def __init__(self, path: Path) -> None:
        """Make and lock the folder. Raises StandaloneError when it cannot be used or another relay runs on it."""
        self.path = path.resolve()
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True)
                # Root's embedded Postgres runs as `nobody`, who must pass through; nobody may list it.
                self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            self._lock: IO[bytes] = embedded.lock_folder(
                self.path,
                "lock",
                f"A relay is already running on {self.path}. Stop it first, or give this one its own folder and ports: "
                "RELAY_HOME, RELAY_PORT, RELAY_CONTROL_PORT, RELAY_DEMO_VENDOR_PORT, RELAY_DEMO_SINK_PORT.",
            )
        except embedded.FolderInUseError as error:
            raise AlreadyRunningError(str(error)) from None
        except OSError as error:
            raise StandaloneError(
                f"{self.path} cannot be used ({error.strerror}). Set RELAY_HOME to a folder of yours."
            ) from None

    def close(self) -> None:
        self._lock.close()

    def secrets(self) -> Secrets:
        """The secrets of this folder, made at the first call."""
        file = self.path / "secrets.json"
        if not file.exists():
            if (self.path / "postgres").exists():
                raise StandaloneError(
                    f"{file} is gone, but {self.path} holds data sealed with it. Put it back, or remove the folder to "
                    "start anew (its data is lost)."
                )
            made = Secrets.new()
            write_private(file, asdict(made))
            return made
        try:
            kept = json.loads(file.read_text())
            return Secrets(**{field.name: str(kept[field.name]) for field in fields(Secrets)})
        except (ValueError, KeyError, TypeError) as error:
            raise StandaloneError(f"{file} is damaged ({error!r}): restore it from a backup.") from None

    @property
    def credentials_file(self) -> Path:
        return self.path / "credentials.json"

    @property
    def demo_catalog_file(self) -> Path:
        """The demo catalog as it was loaded; absent until it was."""
        return self.path / "demo.yaml"

    @property
    def variables_file(self) -> Path:
        return self.path / "variables.json"

    def forget_credentials(self) -> None:
        """Until the relay is ready again nobody should take an earlier run's file for its word."""
        self.credentials_file.unlink(missing_ok=True)

    def write_credentials(self, credentials: Credentials) -> None:
        write_private(self.credentials_file, asdict(credentials))


def write_draft(path: Path, text: str) -> Path:
    """Write text beside `path`, under the name it returns, to be moved there once it counts."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    return draft


def write_private(path: Path, document: dict[str, str]) -> None:
    """Write JSON with mode 0600, whole or not at all."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_private(path: Path) -> dict[str, str]:
    """What `write_private` wrote. Raises StandaloneError when it cannot be read."""
    try:
        content: dict[str, str] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StandaloneError(f"{path} cannot be read ({error}). Is the relay on this folder still starting?") from None
    return content
