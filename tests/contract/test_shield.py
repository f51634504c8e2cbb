"""What an endpoint takes: methods, content types, names of events."""

import pytest

from relay_contract.nouns import DeliveryMode, TargetRole
from relay_contract.shield import MAX_EVENT_TYPE_LENGTH, ContentTypes, event_type_of, methods_taken

LIVE, SHADOW = TargetRole.LIVE, TargetRole.SHADOW


@pytest.mark.parametrize(
    ("targets", "taken"),
    [
        ([], ("POST",)),
        ([(DeliveryMode.ASYNC, LIVE)], ("POST",)),
        ([(DeliveryMode.SYNC, SHADOW)], ("POST",)),
        ([(DeliveryMode.ASYNC, LIVE), (DeliveryMode.SYNC, LIVE)], ("GET", "POST", "HEAD")),
        ([(DeliveryMode.STREAM, LIVE)], ("GET", "POST", "HEAD")),
    ],
)
def test_a_queue_gives_no_answer_to_get(targets: list[tuple[DeliveryMode, TargetRole]], taken: tuple[str, ...]) -> None:
    assert methods_taken(["GET", "POST", "HEAD"], targets) == taken


@pytest.mark.parametrize(
    ("content_type", "is_taken"),
    [
        ("application/json", True),
        ("Application/JSON ; charset=utf-8", True),
        ("text/csv", True),
        ("text", False),
        ("text/", True),
        ("application/jsonp", False),
        ("", False),
        ("; application/json", False),
    ],
)
def test_content_types(content_type: str, is_taken: bool) -> None:
    assert (content_type in ContentTypes.of(["application/JSON", "text/*"])) is is_taken


def test_names_of_events() -> None:
    longest = "é" * MAX_EVENT_TYPE_LENGTH
    assert [event_type_of(one) for one in ("order.created", longest)] == ["order.created", longest]
    for nothing in (longest + "e", "a\nb", "\x00", 7, True, None, ["a"], {"a": 1}):
        assert event_type_of(nothing) == ""
