"""Comparison of a shadow's answer with its baseline's."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.compare import (
    MAX_DIFFERENCES,
    MAX_VALUES,
    ComparedAnswer,
    Comparison,
    Difference,
    compare,
    ignored_paths,
)
from relay_contract.compare import CompareVerdict as V
from relay_contract.excerpt import excerpt
from relay_contract.redaction import Redaction
from relay_contract.shaping.paths import PathError, PathTree

NOTHING = PathTree()


def answer(body: object, status: int = 200) -> ComparedAnswer:
    return ComparedAnswer(status, msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("baseline", "shadow", "verdict"),
    [
        (ComparedAnswer(200, b""), ComparedAnswer(200, b""), V.SAME),
        (ComparedAnswer(200, b"a"), ComparedAnswer(200, b"b"), V.NOT_JSON),
        (ComparedAnswer(200, b"a"), ComparedAnswer(500, b"b"), V.BOTH),
        (ComparedAnswer(200, b"a"), ComparedAnswer(201, b"a"), V.STATUS),
        (ComparedAnswer(200, b"1"), ComparedAnswer(200, b"1.0"), V.SAME),
        (ComparedAnswer(200, b'{"a":1,"b":2}'), ComparedAnswer(200, b'{"b":2, "a":1}'), V.SAME),
        (ComparedAnswer(200, b"{}"), ComparedAnswer(200, b"{"), V.NOT_JSON),
        (ComparedAnswer(200, b"[1]"), ComparedAnswer(200, b"[true]"), V.BODY),
        (ComparedAnswer(200, b"[0]"), ComparedAnswer(200, b"[null]"), V.BODY),
        (ComparedAnswer(200, b"{}"), ComparedAnswer(500, b"[]"), V.BOTH),
        (None, ComparedAnswer(200, b""), V.NO_ANSWER),
        (ComparedAnswer(200, b""), None, V.NO_ANSWER),
    ],
)
def test_verdict(baseline: ComparedAnswer | None, shadow: ComparedAnswer | None, verdict: V) -> None:
    result = compare(baseline, shadow, NOTHING)
    assert (result.verdict, result.is_partial) == (verdict, False)


def test_differences_are_named_in_order() -> None:
    baseline = {"a": 1, "gone": None, "list": [1, {"x.y": "z" * 300}], "kind": {}}
    shadow = {"kind": [], "a": "1", "list": [1, {"x.y": "q"}, 3], "new": 5}
    assert compare(answer(baseline), answer(shadow), NOTHING) == Comparison(
        V.BODY,
        (
            Difference("a", "1", '"1"'),
            Difference("gone", "null", None),
            Difference('list[1]["x.y"]', '"' + "z" * 198 + "…", '"q"'),
            Difference("list[2]", None, "3"),
            Difference("kind", "{}", "[]"),
            Difference("new", None, "5"),
        ),
    )


def test_ignored_paths_do_not_count() -> None:
    baseline = {"at": 1, "lines": [{"id": 1, "n": 1}, {"id": 2, "n": 2}], "meta": {"x": 1}}
    shadow = {"at": 2, "lines": [{"id": 3, "n": 1}, {"n": 3}], "other": 1}
    ignored = ignored_paths(["at", "lines[*].id", "meta", "other"])
    assert compare(answer(baseline), answer(shadow), ignored).differences == (Difference("lines[1].n", "2", "3"),)
    assert compare(answer(1), answer(2), ignored_paths([""])).verdict == V.SAME
    with pytest.raises(PathError):
        ignored_paths(["a..b"])


@pytest.mark.parametrize(
    ("baseline", "shadow", "verdict"),
    [
        (ComparedAnswer(200, None), ComparedAnswer(200, b"a"), V.SAME),
        (ComparedAnswer(200, None), ComparedAnswer(404, b"a"), V.STATUS),
        (ComparedAnswer(200, b"ab", is_cut=True), ComparedAnswer(200, b"ab", is_cut=True), V.SAME),
        (ComparedAnswer(200, b"ab", is_cut=True), ComparedAnswer(200, b"abc"), V.SAME),
        (ComparedAnswer(200, b"abc", is_cut=True), ComparedAnswer(200, b"ab"), V.NOT_JSON),
        (ComparedAnswer(200, b"ab", is_cut=True), ComparedAnswer(200, b"ac", is_cut=True), V.NOT_JSON),
    ],
)
def test_what_was_not_kept_is_not_compared(baseline: ComparedAnswer, shadow: ComparedAnswer, verdict: V) -> None:
    assert compare(baseline, shadow, NOTHING) == Comparison(verdict, (), is_partial=True)


def test_differences_and_work_are_bounded() -> None:
    many = compare(answer(list(range(1_000))), answer([]), NOTHING)
    assert (len(many.differences), many.is_partial) == (MAX_DIFFERENCES, True)
    exactly = compare(answer(list(range(MAX_DIFFERENCES))), answer([]), NOTHING)
    assert (len(exactly.differences), exactly.is_partial) == (MAX_DIFFERENCES, False)
    late = compare(answer([0] * MAX_VALUES + [1]), answer([0] * MAX_VALUES + [2]), NOTHING)
    assert (late.verdict, late.is_partial) == (V.SAME, True)
    in_time = compare(answer([0] * (MAX_VALUES - 2) + [1]), answer([0] * (MAX_VALUES - 2) + [2]), NOTHING)
    assert (in_time.verdict, in_time.is_partial) == (V.BODY, False)


def test_deep_bodies_are_walked() -> None:
    deep = [b"[" * 900 + value + b"]" * 900 for value in (b"1", b"2")]
    result = compare(ComparedAnswer(200, deep[0]), ComparedAnswer(200, deep[1]), NOTHING)
    assert result.verdict == V.BODY
    assert result.differences == (Difference(("[0]" * 900)[:511] + "…", "1", "2"),)


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner)),
    max_leaves=12,
)


@given(JSON, JSON)
def test_the_same_is_what_json_says_is_the_same(one: object, other: object) -> None:
    assert compare(answer(one), answer(one), NOTHING) == Comparison(V.SAME)
    forth, back = compare(answer(one), answer(other), NOTHING), compare(answer(other), answer(one), NOTHING)
    assert forth.verdict == back.verdict
    assert (forth.verdict == V.SAME) is (_normal(one) == _normal(other))


def _normal(value: object) -> object:
    """The value so that Python's equality is JSON's."""
    if isinstance(value, dict):
        return {name: _normal(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_normal(item) for item in value]
    return ("boolean", value) if isinstance(value, bool) else value


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_any_bytes_are_compared(one: bytes, other: bytes) -> None:
    assert (compare(ComparedAnswer(200, one), ComparedAnswer(200, other), NOTHING).verdict == V.SAME) or one != other


@given(JSON)
def test_an_excerpt_is_the_json_or_its_beginning(value: object) -> None:
    whole = excerpt(value, 1_000_000)
    assert msgspec.json.decode(whole) == msgspec.json.decode(msgspec.json.encode(value))
    cut = excerpt(value, 10)
    assert cut == whole if len(whole) <= 10 else cut == whole[:9] + "…"


def test_an_excerpt_of_a_deep_or_strange_value_is_short() -> None:
    deep: object = []
    for _ in range(100_000):
        deep = [deep]
    assert excerpt(deep, 10) == "[" * 9 + "…"
    assert excerpt(NOTHING) == "<PathTree>"
    while isinstance(deep, list) and deep:  # Python frees nested lists by recursion of its own
        deep = deep[0]


def test_what_is_hidden_differs_and_is_not_shown() -> None:
    baseline = {
        "card": {"number": 4242, "kind": "visa"},
        "lines": [{"note": "canary-1"}, {"note": "canary-2"}],
        "password": "canary-3",
        "whole": {"apiKey": "canary-4", "ok": 1},
        "none": None,
        "said": "Bearer sk-canary5canary5canary5canary5",
    }
    shadow = {"card": None, "lines": [{"note": "canary-6"}], "password": "canary-7", "none": {"token": "canary-8"}}
    redaction = Redaction(["card.number", "lines[*].note", "header:x-note"])
    found = compare(answer(baseline), answer(shadow), NOTHING, redaction)
    assert found.verdict == V.BODY
    assert "canary" not in repr(found)
    hidden = '"[redacted]"'
    assert [(one.path, one.baseline, one.shadow) for one in found.differences[:4]] == [
        ("card", '{"number": "[redacted]", "kind": "visa"}', "null"),
        ("lines[0].note", hidden, hidden),
        ("lines[1]", '{"note": "[redacted]"}', None),
        ("password", hidden, hidden),
    ]
    assert [one.path for one in found.differences[4:]] == ["whole", "none", "said"]
    unreadable = compare(answer({"a": "canary"}), answer({"a": 1}), NOTHING, Redaction(["a..b"]))
    assert unreadable.differences == (Difference("a", hidden, hidden),)
    below = compare(answer({"a": {"b": ["canary"]}}), answer({"a": {"b": [1]}}), NOTHING, Redaction(["a"]))
    assert below.differences == (Difference("a.b[0]", hidden, hidden),)
