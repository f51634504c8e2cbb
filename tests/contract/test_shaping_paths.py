"""Paths and references of the shaping language: tables, and that what is shown is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.shaping.facts import MISSING, NOT_JSON, Facts, decoded
from relay_contract.shaping.paths import (
    MAX_PATH_LENGTH,
    MAX_STEPS,
    Every,
    PathError,
    PathTree,
    Steps,
    follow,
    follow_every,
    parse,
    parse_reference,
    shown,
)

DOCUMENT = {"order": {"lines": [{"sku": "a"}, {"sku": "b"}, {}], "a.b": {"": 1}}, "text": "abc", "null": None}


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", ()),
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ("a[0]", ("a", 0)),
        ("[12].b", (12, "b")),
        ('["a.b"].c', ("a.b", "c")),
        ('a["x]"][3]', ("a", "x]", 3)),
        ('[""]', ("",)),
        ("lines[*].sku", ("lines", Every.ITEM, "sku")),
        ("grün-1_x$", ("grün-1_x$",)),
    ],
)
def test_a_path_is_read_and_shown(text: str, steps: Steps) -> None:
    assert parse(text, with_every=True) == steps
    assert shown(steps) == text


@pytest.mark.parametrize(
    "text",
    [".", ".a", "a.", "a..b", "a b", "a]", "a[", "a[]", "a[-1]", "a[x]", "a[0", 'a["x]', 'a["x"', "a[0]b", "a{b}",
     "a:b", "[٣]", "[1234567]", "a" * (MAX_PATH_LENGTH + 1), ".".join("a" * (MAX_STEPS + 1)), "a[*]"],
)  # fmt: skip
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(PathError):
        parse(text)


STEPS = st.lists(st.one_of(st.text(max_size=8), st.integers(0, 999_999), st.just(Every.ITEM)), max_size=MAX_STEPS)


@given(STEPS)
def test_every_path_that_is_shown_is_read_back(steps: list[str | int | Every]) -> None:
    text = shown(steps)
    if len(text) <= MAX_PATH_LENGTH:
        assert parse(text, with_every=True) == tuple(steps)


@given(st.text(alphabet='ab.[]{}"*0:\\ ', max_size=20))
def test_reading_raises_nothing_else(text: str) -> None:
    for read in (parse, parse_reference):
        try:
            read(text, with_every=True)
        except PathError:
            continue


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("order.lines[1].sku", "b"),
        ('order["a.b"][""]', 1),
        ("null", None),
        ("order.lines[2].sku", MISSING),
        ("order.lines[3]", MISSING),
        ("order.lines.sku", MISSING),
        ("text[0]", MISSING),
        ("order[0]", MISSING),
        ("null.a", MISSING),
    ],
)
def test_a_path_is_followed(path: str, value: object) -> None:
    assert follow(DOCUMENT, parse(path)) == value


@pytest.mark.parametrize(
    ("path", "values", "spent"),
    [
        ("order.lines[*].sku", ["a", "b"], [3]),
        ("order.lines[1].sku", ["b"], []),
        ("text[*]", [], []),
        ("order.lines[*].none[*].x", [], [3]),
    ],
)
def test_every_value_is_found_and_the_walk_is_paid_for(path: str, values: list[object], spent: list[int]) -> None:
    paid: list[int] = []
    assert list(follow_every(DOCUMENT, parse(path, with_every=True), paid.append)) == values
    assert paid == spent


FACTS = Facts(
    body=b'{"a": {"b": 5}}',
    headers={"x-shop": "berlin"},
    event_type="order.created",
    method="PUT",
    path="/r/p/l/e",
    request_id="0190",
    received_at="2026-11-21T10:00:00Z",
    status=204,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("b", 1),
        ("", {"b": 1}),
        ("body:a.b", 5),
        ("body:", {"a": {"b": 5}}),
        ("header:X-Shop", "berlin"),
        ("header:none", MISSING),
        ("request:method", "PUT"),
        ("request:path", "/r/p/l/e"),
        ("request:event_type", "order.created"),
        ("request:id", "0190"),
        ("request:received_at", "2026-11-21T10:00:00Z"),
        ("answer:status", 204),
    ],
)
def test_a_reference_is_followed(text: str, value: object) -> None:
    assert parse_reference(text).read(FACTS, {"b": 1}) == value


@pytest.mark.parametrize("text", ["request:", "request:body", "header:", "answer:body", "env:HOME", "a:b"])
def test_an_unknown_reference_is_refused(text: str) -> None:
    with pytest.raises(PathError, match="is not known"):
        parse_reference(text)


def test_an_answer_without_status_and_a_body_without_json_lead_nowhere() -> None:
    facts = Facts(body=b"<xml>", headers={})
    assert parse_reference("answer:status").read(facts, None) is MISSING
    assert parse_reference("body:").read(facts, None) is MISSING


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"\\ud800"', b"NaN", b"[" * 100_000, b"9" * 5_000])
def test_what_is_not_json_is_said_to_be_none(body: bytes) -> None:
    assert decoded(body) is NOT_JSON


def test_a_tree_of_paths_knows_where_one_ends() -> None:
    tree = PathTree([parse(path, with_every=True) for path in ("a[*].b", "a[0].c", "d")])
    inside = PathTree.after(PathTree.after(tree.start(), "a"), 0)
    assert [PathTree.is_end(PathTree.after(inside, name)) for name in ("b", "c", "d")] == [True, True, False]
    other = PathTree.after(PathTree.after(tree.start(), "a"), 1)
    assert [PathTree.is_end(PathTree.after(other, name)) for name in ("b", "c")] == [True, False]
    assert PathTree.is_end(PathTree.after(tree.start(), "d"))
    assert PathTree().start() == ()
