"""The address of a raw call, `/passthrough/{host}/{path}?{query}`, taken apart. Pure.

What two readers could resolve to different places is refused, not cleaned: what is compared with the allow-list has to
be what the host sees.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from relay_contract.errors import BadRequest, NotFound
from relay_contract.nouns import SLUG_PATTERN

PREFIX = "/passthrough/"

_SLUG = re.compile(SLUG_PATTERN)
_PRINTABLE = re.compile(r"[\x21-\x7e]*")
_UNSAFE = re.compile(r"//|/\.|\\|#|%(?![0-9A-Fa-f]{2})|%(?:2[eEfF35]|5[cC]|[01][0-9A-Fa-f]|7[fF])")
"""Empty and dotted segments; dots, slashes, backslashes, percent and number signs, and control characters, encoded."""

_TEXT = "This path cannot be passed on: write it plainly, without `..`, `//` and encoded slashes or dots."


@dataclass(frozen=True, slots=True)
class RawPath:
    """Whom a raw call is for, and what."""

    host: str  # slug
    path: str  # below the host's base URL, begins with a slash
    query: str  # with its question mark; "" for none

    def is_in(self, patterns: Iterable[str]) -> bool:
        """Whether a host's list allows it: a pattern is a path, or the beginning of one where it ends in `*`."""
        return any(
            self.path.startswith(pattern[:-1]) if pattern.endswith("*") else self.path == pattern
            for pattern in patterns
        )


def read_raw_path(target: str) -> RawPath:
    """`target`: as it stands in the request line. Raises BadRequest, NotFound."""
    address, question_mark, query = target.partition("?")
    host, slash, path = address.removeprefix(PREFIX).partition("/")
    if not _SLUG.match(host) or not slash:
        raise NotFound("No such host. The address is /passthrough/{host}/{path}.")
    if not _PRINTABLE.fullmatch(target) or "#" in query or _UNSAFE.search("/" + path):
        raise BadRequest(_TEXT)
    return RawPath(host, f"/{path}", question_mark + query)
