"""Where the sign-in of this machine's user is kept: one file that nobody else may read, renewed under a lock."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from relay_sdk.oauth import Tokens

try:
    import fcntl
except ImportError:  # Windows: two programs that renew in the same second sign one of them out
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class SignIn:
    """Where somebody is signed in, and as which application."""

    control_url: str
    url: str  # of the edge
    client_id: str
    tokens: Tokens


class Store:
    """`folder`: by default RELAY_CONFIG, else `relay` in XDG_CONFIG_HOME or ~/.config."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or _folder()
        self._file = self._folder / "sign-in.json"

    def read(self) -> SignIn | None:
        """None where nobody is signed in. Raises ValueError for a file that is none of ours."""
        try:
            document = json.loads(self._file.read_text())
        except FileNotFoundError:
            return None
        try:
            tokens = Tokens.of(document["tokens"])
            return SignIn(document["control_url"], document["url"], document["client_id"], tokens)
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{self._file} is no sign-in of this program. Remove it, and `relay login`.") from None

    def write(self, sign_in: SignIn) -> None:
        """Whole or not at all."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._file.with_suffix(f".{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123 (its mode)
            json.dump(
                {
                    "control_url": sign_in.control_url,
                    "url": sign_in.url,
                    "client_id": sign_in.client_id,
                    "tokens": sign_in.tokens.as_dict(),
                },
                file,
            )
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._file)

    def forget(self) -> None:
        """Signs out on this machine."""
        self._file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held by one program at a time."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _folder() -> Path:
    named = os.environ.get("RELAY_CONFIG")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "relay"
