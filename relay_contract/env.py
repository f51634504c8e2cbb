"""Typed settings out of environment variables, with all mistakes reported together.

    env = Env(os.environ)
    port = env.integer("RELAY_PORT", 8080, 1, 65_535)
    database_url = env.url("DATABASE_URL")                 # no default: required
    master_key = env.key32("RELAY_MASTER_KEY")             # or RELAY_MASTER_KEY_FILE
    env.done()                                             # ConfigurationError lists every mistake

An empty or blank variable counts as unset: compose files and `.env` files write `NAME=` for "not given". While a
mistake is pending a reader returns a placeholder of the right type, so that reading goes on and the next mistake is
found too; nothing may be done with any value before `done`. Values of secrets, keys and URLs are never repeated in a
message.

Only I/O: a file that a `NAME_FILE` variable points to is read once.
"""

import base64
import binascii
import ipaddress
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from email.utils import parseaddr
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from relay_contract.netguard import Network

_Value = TypeVar("_Value")

_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)  # no exponent, no `nan`, no `inf`
_ADDRESS = re.compile(r"[!-?A-~]{1,64}@[0-9A-Za-z.-]{1,189}", re.ASCII)
_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_MAX_SECRET_FILE_BYTES = 65_536
_KEY_EXPECTED = "base64 of exactly 32 bytes (`openssl rand -base64 32` makes one)"


class ConfigurationError(Exception):
    """The process cannot start as it is configured. `problems` has a sentence per variable, `str()` all of them."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"The configuration is not usable. Set these variables and start again:{lines}")


class Env:
    """Reads variables one by one. A reader without a default (or with `None`) requires its variable."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._problems: dict[str, None] = {}  # an ordered set: two readers of one variable complain once

    def done(self) -> None:
        """Call after the last reader. ConfigurationError when any variable was missing or wrong."""
        if self._problems:
            raise ConfigurationError(self._problems)

    def text(self, name: str, default: str | None = None, choices: Collection[str] | None = None) -> str:
        """Printable text without surrounding space; one of `choices` when they are given."""
        expected = "one of " + ", ".join(choices) if choices else "text"
        raw = self._raw(name)
        if raw is None:
            return self._absent(name, default, "", expected)
        if choices is not None and raw not in choices:
            return self._wrong(name, raw, expected, "")
        if not raw.isprintable():
            return self._wrong(name, raw, "text without control characters", "")
        return raw

    def texts(self, name: str, default: Sequence[str], choices: Sequence[str]) -> tuple[str, ...]:
        """One or several of `choices`, separated by commas or spaces."""
        raw = self._raw(name)
        if raw is None:
            return tuple(default)
        parts = tuple(_parts(raw))
        if not parts or any(part not in choices for part in parts):
            return self._wrong(name, raw, f"one or several of {', '.join(choices)}", tuple(default))
        return parts

    def integer(self, name: str, default: int | None, minimum: int, maximum: int) -> int:
        """A whole number in decimal digits, `minimum` and `maximum` included."""
        expected = f"a whole number from {minimum} to {maximum}"
        raw = self._raw(name)
        if raw is None:
            return self._absent(name, default, minimum, expected)
        if not _INTEGER.fullmatch(raw) or not minimum <= int(raw) <= maximum:
            return self._wrong(name, raw, expected, minimum)
        return int(raw)

    def seconds(self, name: str, default: float | None, minimum: float, maximum: float) -> float:
        """A duration such as `30` or `0.25`, `minimum` and `maximum` included."""
        expected = f"seconds from {minimum:g} to {maximum:g}, such as {minimum:g}"
        raw = self._raw(name)
        if raw is None:
            return self._absent(name, default, minimum, expected)
        if not _DECIMAL.fullmatch(raw) or not minimum <= float(raw) <= maximum:
            return self._wrong(name, raw, expected, minimum)
        return float(raw)

    def share(self, name: str, default: float | None) -> float:
        """A part of a whole: `0` for nothing, `1` for all, `0.25` for a quarter."""
        expected = "a share from 0 to 1, such as 0.25"
        raw = self._raw(name)
        if raw is None:
            return self._absent(name, default, 0.0, expected)
        if not _DECIMAL.fullmatch(raw) or float(raw) > 1:
            return self._wrong(name, raw, expected, 0.0)
        return float(raw)

    def boolean(self, name: str, default: bool | None) -> bool:
        """`true`, `yes`, `on`, `1` or `false`, `no`, `off`, `0`, in any case."""
        expected = "true or false"
        raw = self._raw(name)
        if raw is None:
            return self._absent(name, default, False, expected)
        value = _BOOLEANS.get(raw.lower())
        return self._wrong(name, raw, expected, False) if value is None else value

    def url(self, name: str, schemes: Collection[str] = ("postgresql", "postgres"), default: str | None = None) -> str:
        """An absolute URL of one of `schemes` that names a host, or a socket by path or by `?host=/path`.

        It may hold a password: a wrong one is not repeated, and `name`_FILE may point to a file with it.
        """
        expected = f"a URL such as {next(iter(schemes))}://host/..., scheme one of {', '.join(schemes)}"

        def convert(raw: str) -> str:
            if not _is_url(raw, schemes):
                raise ValueError("no such URL")
            return raw

        return self._secret(name, default, "", expected, convert)

    def mailbox(self, name: str, default: str | None) -> str:
        """An e-mail address, with or without a name: `Relay <relay@example.com>`."""
        expected = "an e-mail address such as Relay <relay@example.com>"
        raw = self._raw(name)
        if raw is None:
            return self._absent(name, default, "", expected)
        if not raw.isprintable() or not _ADDRESS.fullmatch(parseaddr(raw)[1]):
            return self._wrong(name, raw, expected, "")
        return raw

    def refuse(self, problem: str) -> None:
        """Values that do not go together: `problem` says so, and what to do."""
        self._problems[problem] = None

    def secret(self, name: str, default: str | None = None) -> str:
        """A secret from `name`, or from the file that `name`_FILE points to, without its trailing line break."""
        return self._secret(name, default, secrets.token_urlsafe(32), "a secret, or a file's path in {}_FILE", _same)

    def key32(self, name: str) -> bytes:
        """A 32-byte key in base64 (standard or URL-safe), from `name` or the file that `name`_FILE points to."""
        # A random placeholder, not zeros: nothing sealed by mistake before `done` opens for somebody who knows this.
        return self._secret(name, None, os.urandom(32), _KEY_EXPECTED + ", or a file's path in {}_FILE", _key32)

    def master_keys(self) -> tuple[bytes, ...]:
        """What `sealing.Sealer` takes: RELAY_MASTER_KEY, which seals, then those that only open. Each once."""
        return tuple(dict.fromkeys((self.key32("RELAY_MASTER_KEY"), *self.keys32("RELAY_PREVIOUS_MASTER_KEYS"))))

    def keys32(self, name: str) -> tuple[bytes, ...]:
        """Any number of 32-byte keys in base64, by space or comma; unset means none. For keys that are rotated out."""
        return self._secret(name, (), (), f"a list, each {_KEY_EXPECTED}", _keys32)

    def networks(self, name: str, default: str | None = "") -> tuple[Network, ...]:
        """Networks in CIDR form by space or comma, such as `10.0.0.0/8 fd00::/8`. No host bits may be set."""
        expected = "a list of networks such as `10.0.0.0/8 fd00::/8`, with no bits set behind the prefix"
        raw = self._raw(name)
        try:
            return tuple(
                ipaddress.ip_network(part)
                for part in _parts(self._absent(name, default, "", expected) if raw is None else raw)
            )
        except ValueError:
            return self._wrong(name, raw, expected, ())

    def parsed(self, name: str, default: _Value, expected: str, convert: Callable[[str], _Value]) -> _Value:
        """What `convert` makes of the text; it raises ValueError for what is not `expected`."""
        raw = self._raw(name)
        if raw is None:
            return default
        try:
            return convert(raw)
        except ValueError:
            return self._wrong(name, raw, expected, default)

    def _raw(self, name: str) -> str | None:
        """The variable without surrounding space, or None when it is unset or blank."""
        return self._variables.get(name, "").strip() or None

    def _absent(self, name: str, default: _Value | None, placeholder: _Value, expected: str) -> _Value:
        if default is not None:
            return default
        self._problems[f"{name} is not set; expected {expected}"] = None
        return placeholder

    def _wrong(self, name: str, shown: str | None, expected: str, placeholder: _Value) -> _Value:
        """`shown` is the value to repeat in the message, None for one that may be secret."""
        got = "" if shown is None else f", got {shown[:40]!a}"
        self._problems[f"{name} is wrong; expected {expected}{got}"] = None
        return placeholder

    def _secret(
        self,
        name: str,
        default: _Value | None,
        placeholder: _Value,
        expected: str,
        convert: Callable[[str], _Value],
    ) -> _Value:
        expected = expected.format(name)
        raw, path, source = self._raw(name), self._raw(f"{name}_FILE"), name
        if raw is not None and path is not None:
            self._problems[f"{name} and {name}_FILE are both set; expected one of them"] = None
            return placeholder
        if path is not None:
            source = f"{name}_FILE"
            try:
                raw = _read_secret_file(path)
            except (OSError, ValueError) as error:
                # The path stays out: a secret put into NAME_FILE by mistake would be repeated.
                reason = error.strerror if isinstance(error, OSError) else str(error)
                self._problems[f"{source} is wrong; the file it names cannot be used: {reason}"] = None
                return placeholder
        if raw is None:
            return self._absent(name, default, placeholder, expected)
        try:
            return convert(raw)
        except ValueError:
            return self._wrong(source, None, expected, placeholder)


def _is_url(raw: str, schemes: Collection[str]) -> bool:
    if not raw.isascii() or not raw.isprintable() or " " in raw:
        return False
    try:
        parts = urlsplit(raw)
        port = parts.port
    except ValueError:
        return False
    socket_path = parse_qs(parts.query).get("host") or (parts.scheme == "unix" and parts.path)
    return parts.scheme in schemes and "://" in raw and port != 0 and bool(parts.hostname or socket_path)


def _read_secret_file(path: str) -> str:
    with Path(path).open("rb") as file:
        content = file.read(_MAX_SECRET_FILE_BYTES + 1)
    if len(content) > _MAX_SECRET_FILE_BYTES:
        raise ValueError(f"it is larger than {_MAX_SECRET_FILE_BYTES} bytes")
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    if not text:
        raise ValueError("it is empty")
    return text


def _same(raw: str) -> str:
    return raw


def _key32(raw: str) -> bytes:
    try:
        key = base64.b64decode(raw.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if len(key) != 32:
        raise ValueError("not 32 bytes")
    return key


def _keys32(raw: str) -> tuple[bytes, ...]:
    return tuple(_key32(part) for part in _parts(raw))


def _parts(raw: str) -> list[str]:
    return raw.replace(",", " ").split()
