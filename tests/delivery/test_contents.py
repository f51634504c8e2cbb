"""Contents in flight: loaded once, shared, and kept for as long as one delivery of theirs is in flight."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from delivery.contents import Contents
from delivery.database import Connection, DatabaseAway

FIRST, SECOND = UUID(int=1), UUID(int=2)


class Database(Connection):
    """Has every request; `meanwhile` happens while it is asked."""

    def __init__(self) -> None:
        super().__init__("", "test")
        self.asked: list[set[UUID]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    async def rows(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        wanted, first, last, *_ = parameters
        assert (first, last) == (min(wanted), max(wanted))
        self.asked.append(set(wanted))
        self.meanwhile()
        return [(each, "text/plain", "{}", "", b"body") for each in wanted]


async def test_deliveries_of_a_request_share_its_content() -> None:
    database = Database()
    contents = Contents(database)
    taken = await contents.take([FIRST, FIRST, SECOND])
    again = await contents.take([FIRST])
    assert again[FIRST] is taken[FIRST]
    assert database.asked == [{FIRST, SECOND}]
    for _ in range(3):
        contents.release(FIRST)
    await contents.take([FIRST, SECOND])
    assert database.asked[1:] == [{FIRST}]


async def test_what_ends_during_a_load_takes_nothing_from_the_claim() -> None:
    database = Database()
    contents = Contents(database)
    await contents.take([FIRST])
    database.meanwhile = lambda: contents.release(FIRST)
    assert set(await contents.take([FIRST, SECOND])) == {FIRST, SECOND}
    contents.release(FIRST)
    database.meanwhile = lambda: None
    await contents.take([FIRST])
    assert database.asked[-1] == {FIRST}  # all of it had ended


async def test_a_load_that_fails_holds_nothing() -> None:
    def fail() -> None:
        raise DatabaseAway("gone")

    database = Database()
    contents = Contents(database)
    await contents.take([FIRST])
    database.meanwhile = fail
    with pytest.raises(DatabaseAway):
        await contents.take([FIRST, SECOND])
    contents.release(FIRST)
    database.meanwhile = lambda: None
    await contents.take([FIRST, SECOND])
    assert database.asked[-1] == {FIRST, SECOND}
