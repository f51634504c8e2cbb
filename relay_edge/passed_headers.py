"""Which headers of an answer reach the caller, and how they are written. Pure; 2 us for a usual head."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from relay_contract.headers import CREDENTIALS, HOP_BY_HOP
from relay_edge.reply import are_whole_lines

_OURS = (
    HOP_BY_HOP
    | CREDENTIALS
    | {
        "content-length",  # written anew
        "date",
        "x-request-id",
        # About the other side's own connection or site, and not about this answer:
        "alt-svc",
        "clear-site-data",
        "nel",
        "report-to",
        "server",
        "set-cookie2",
        "strict-transport-security",
        "via",
    }
)
_OUR_PREFIXES = ("x-relay-", "access-control-", "cf-")
_HOSTS = _OURS | {
    "server-timing",  # ours stands there
    # About an account, which is not the caller's:
    "www-authenticate",
    "openai-organization",
    "openai-project",
    "anthropic-organization-id",
}
_HOST_PREFIXES = (
    *_OUR_PREFIXES,
    # Limits of a host key that many callers share: they would tell one caller about the others.
    "x-ratelimit-",
    "ratelimit",
    "anthropic-ratelimit-",
    "anthropic-priority-",
)
MAX_REMEMBERED_NAMES = 2_000

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2


class Names:
    """Header names as others write them -> `name: ` in lower case, or b"" for one that is withheld."""

    __slots__ = ("_known", "_prefixes", "_withheld")

    def __init__(self, withheld: frozenset[str], prefixes: tuple[str, ...]) -> None:
        self._withheld = withheld
        self._prefixes = prefixes
        self._known: dict[bytes, bytes] = {}

    def rendered(self, name: bytes) -> bytes:
        """What stands before the value."""
        known = self._known.get(name)
        if known is None:
            lowered = name.decode("latin-1").lower()
            is_withheld = lowered in self._withheld or lowered.startswith(self._prefixes) or not _TOKEN.fullmatch(name)
            known = b"" if is_withheld else b"%b: " % name.lower()
            if len(self._known) >= MAX_REMEMBERED_NAMES:  # names are the other side's to invent
                self._known.clear()
            self._known[name] = known
        return known


HOST_NAMES: Final = Names(frozenset(_HOSTS), _HOST_PREFIXES)
"""Of answers that hosts of models give: nothing of the account behind the host key."""

TARGET_NAMES: Final = Names(frozenset(_OURS), (*_OUR_PREFIXES, "relay-"))
"""Of answers that targets give: the project's own service, whose limits and challenges are the caller's to see."""


class Passed(NamedTuple):
    """What of an answer's head the caller sees."""

    lines: bytes | None  # None: one of them would break out of its line
    is_event_stream: bool
    is_coded: bool  # compressed: nobody else can write into it


def passed_lines(headers: Iterable[tuple[bytes, bytes]], names: Names, secret: bytes = b"") -> Passed:
    """Without a line that quotes `secret`, and without those that `Connection` names."""
    rendered = names.rendered
    lines: list[bytes] = []
    connection_options = b""
    is_event_stream = is_coded = False
    for name, value in headers:
        start = rendered(name)
        if start:
            lines.append(b"%b%b\r\n" % (start, value))
            if start == b"content-type: ":
                is_event_stream = value[:17].lower() == b"text/event-stream"
            elif start == b"content-encoding: ":
                is_coded = value.strip().lower() not in (b"", b"identity")
        elif len(name) == 10 and name.lower() == b"connection":
            connection_options += b"," + value.lower()
    if connection_options and connection_options not in (b",keep-alive", b",close"):
        named = {option.strip() for option in connection_options.split(b",")}
        lines = [line for line in lines if line.split(b":", 1)[0] not in named]
    block = b"".join(lines)
    if secret and secret in block:
        lines = [line for line in lines if secret not in line]
        block = b"".join(lines)
    return Passed(block if are_whole_lines(block, len(lines)) else None, is_event_stream, is_coded)
