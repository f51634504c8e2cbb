"""What an endpoint takes, as the edge decides it and a dry run explains it. Pure; the rest of the shield is signatures
(`inbound_signatures.py`) and schemas (`schemas.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from relay_contract.nouns import RESPONSE_MODES, DeliveryMode, TargetRole

MAX_EVENT_TYPE_LENGTH = 128

OFTEN_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE"})
"""Methods whose calls have no body by their nature: types and schema are asked of them only where one came."""

_ONLY_FOR_ANSWERS = frozenset({"GET", "HEAD"})


def methods_taken(methods: Iterable[str], targets: Iterable[tuple[DeliveryMode, TargetRole]]) -> tuple[str, ...]:
    """Those of the methods that the endpoint serves. GET and HEAD ask for an answer, which a queue does not give.
    `targets`: all of the endpoint's, enabled or not."""
    answers = any(mode in RESPONSE_MODES and role == TargetRole.LIVE for mode, role in targets)
    return tuple(method for method in methods if answers or method not in _ONLY_FOR_ANSWERS)


@dataclass(frozen=True, slots=True)
class ContentTypes:
    """Content types that are taken."""

    whole: frozenset[str]
    starts: tuple[str, ...]  # "text/" of `text/*`

    @classmethod
    def of(cls, written: Iterable[str]) -> "ContentTypes":
        """Names, or `text/*` for all that begin so."""
        names = [name.lower() for name in written]
        return cls(
            frozenset(name for name in names if not name.endswith("/*")),
            tuple(name[:-1] for name in names if name.endswith("/*")),
        )

    def __contains__(self, content_type: str) -> bool:
        """`content_type`: a header's value, with parameters or without."""
        name = content_type.partition(";")[0].strip(" \t").lower()
        return name in self.whole or (bool(self.starts) and name.startswith(self.starts))


def event_type_of(found: object) -> str:
    """Printable text of at most 128 characters, else "": numbers and objects are no names of events."""
    is_name = isinstance(found, str) and len(found) <= MAX_EVENT_TYPE_LENGTH and found.isprintable()
    return str(found) if is_name else ""
