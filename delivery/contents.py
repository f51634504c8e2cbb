"""Loads what is to be sent: each claimed request once, however many of its deliveries are in flight.

A claim carries no bodies. They are found by their ids, with the lowest and highest said beside, so that Postgres looks
at the days' partitions between those and at no others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

import msgspec

from delivery.database import Connection

LOAD = """
SELECT wanted.id, request.content_type, request.headers::text, request.event_type, payload.body
FROM unnest(%b::uuid[]) AS wanted(id)
LEFT JOIN deliveries_request AS request ON request.id = wanted.id AND request.id BETWEEN %b AND %b
LEFT JOIN deliveries_payload AS payload
    ON payload.request_id = wanted.id AND payload.request_id BETWEEN %b AND %b
"""


@dataclass(frozen=True, slots=True)
class Content:
    """What a request's deliveries have in common."""

    content_type: str
    headers: Mapping[str, str] | None  # None: not what an edge writes
    event_type: str
    body: bytes | None  # None: past its retention


@dataclass(slots=True)
class _Held:
    content: Content
    deliveries: int = 0  # in flight


class Contents:
    """Contents in flight. `take` and `release` belong to one event loop; loads through the claim's connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._held: dict[UUID, _Held] = {}

    async def take(self, request_ids: Iterable[UUID]) -> Mapping[UUID, Content]:
        """The content of each, held until `release` was called as often as its id is among them. Raises DatabaseAway,
        and then holds nothing more than before."""
        ids = list(request_ids)
        # Counted before the load, as deliveries that end meanwhile must not take away what this claim found here.
        present = [each for each in ids if each in self._held]
        for each in present:
            self._held[each].deliveries += 1
        try:
            found = await self._load(set(ids).difference(present))
        except BaseException:
            for each in present:
                self.release(each)
            raise
        self._held |= {each: _Held(content) for each, content in found.items()}
        for each in ids:
            if each in found:
                self._held[each].deliveries += 1
        return {each: self._held[each].content for each in ids}

    def release(self, request_id: UUID) -> None:
        """One of its deliveries is not in flight any more."""
        held = self._held[request_id]
        held.deliveries -= 1
        if not held.deliveries:
            del self._held[request_id]

    async def _load(self, missing: set[UUID]) -> dict[UUID, Content]:
        if not missing:
            return {}
        first, last = min(missing), max(missing)
        rows = await self._connection.rows(LOAD, (list(missing), first, last, first, last))
        return {row[0]: _content(*row[1:]) for row in rows}


def _content(content_type: str | None, headers: str | None, event_type: str | None, body: bytes | None) -> Content:
    decoded: dict[str, str] | None = {}
    if headers is not None:
        try:
            decoded = msgspec.json.decode(headers, type=dict[str, str])
        except msgspec.DecodeError:  # a row that no edge of ours wrote must not end the worker, and the next, ...
            decoded = None
    return Content(content_type or "", decoded, event_type or "", None if headers is None else body)
