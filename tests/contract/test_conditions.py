"""Conditions: what passes, what is refused, and what they cost at worst."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.shaping.checking import MAX_FAULTS, Check, ShapingError
from relay_contract.shaping.comparisons import MAX_CHOICES, OPERATORS, is_like
from relay_contract.shaping.conditions import (
    MAX_DEPTH,
    MAX_LEAVES,
    Verdict,
    check_conditions,
    compile_conditions,
    read_conditions,
    trace_conditions,
)
from relay_contract.shaping.facts import MISSING, Facts
from relay_contract.shaping.run import MAX_RUN_STEPS, Run

EVENT = {
    "order": {"total": 120, "paid": True, "note": None, "id": "o-1", "tags": ["new", "vip"]},
    "five": "5",
    "whole": 5.0,
}
FACTS = Facts(body=msgspec.json.encode(EVENT), headers={"x-shop": "berlin"}, event_type="order.created")


@pytest.mark.parametrize(
    ("document", "passes"),
    [
        ({"event_type": "order.created"}, True),
        ({"event_type": "order.*"}, True),
        ({"event_type": ["refund", "*.created"]}, True),
        ({"event_type": "order"}, False),
        ({"path": "order.total", "is": 120}, True),
        ({"path": "order.total", "is": 120.0}, True),
        ({"path": "whole", "is": 5}, True),
        ({"path": "five", "is": 5}, False),
        ({"path": "order.paid", "is": True}, True),
        ({"path": "order.paid", "is": 1}, False),
        ({"path": "whole", "in": [True, "5"]}, False),
        ({"path": "order.note", "is": None}, True),
        ({"path": "order.tags", "is": "new"}, False),
        ({"path": "order.id", "in": ["o-2", "o-1"]}, True),
        ({"path": "order.note", "exists": True}, True),
        ({"path": "order.none", "exists": True}, False),
        ({"path": "order.none", "exists": False}, True),
        ({"path": "order.none", "is": None}, False),
        ({"not": {"path": "order.none", "is": None}}, True),
        ({"path": "order.total", "gt": 120}, False),
        ({"path": "order.total", "gte": 120}, True),
        ({"path": "order.total", "gt": 100, "lt": 121}, True),
        ({"path": "order.total", "gt": 100, "lt": 120}, False),
        ({"path": "order.total", "lte": 119.5}, False),
        ({"path": "five", "gt": 1}, False),
        ({"path": "order.paid", "gt": 0}, False),
        ({"path": "order.id", "starts_with": "o-"}, True),
        ({"path": "order.id", "ends_with": "-2"}, False),
        ({"path": "order.id", "contains": "-"}, True),
        ({"path": "order.tags", "contains": "vip"}, True),
        ({"path": "order.tags", "contains": "vi"}, False),
        ({"path": "order", "contains": "total"}, False),
        ({"path": "order.id", "like": "o*1"}, True),
        ({"path": "order.tags[1]", "is": "vip"}, True),
        ({"header": "X-Shop", "is": "berlin"}, True),
        ({"header": "x-none", "like": "*"}, False),
        ({"all": [{"header": "x-shop", "is": "berlin"}, {"path": "five", "is": "5"}]}, True),
        ({"all": [{"header": "x-shop", "is": "berlin"}, {"path": "five", "is": "6"}]}, False),
        ({"any": [{"path": "five", "is": "6"}, {"path": "five", "is": "5"}]}, True),
        ({"any": [{"path": "five", "is": "6"}]}, False),
    ],
)
def test_conditions_pass_or_do_not(document: object, passes: bool) -> None:
    assert check_conditions(document) == ()
    assert compile_conditions(document)(FACTS) is passes
    assert trace_conditions(document, FACTS).passes is passes


@pytest.mark.parametrize("body", [b"", b"text", b"[" * 5_000])
def test_a_body_that_is_not_json_has_no_paths(body: bytes) -> None:
    facts = Facts(body=body, headers={})
    assert not compile_conditions({"path": "a", "is": None})(facts)
    assert compile_conditions({"path": "a", "exists": False})(facts)
    assert not compile_conditions({"event_type": "*"})(facts)


def test_a_body_is_decoded_only_for_conditions_on_it() -> None:
    facts = Facts(body=b"{}", headers={}, event_type="a")
    conditions = compile_conditions({"any": [{"event_type": "b"}, {"header": "x", "exists": False}]})
    assert (conditions(facts), conditions.reads_body, facts._document) == (True, False, MISSING)
    assert compile_conditions({"path": "a", "exists": False}).reads_body


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        (None, ['a condition is an object, such as {"path": "order.total", "gte": 100}']),
        ({}, ["a condition has exactly one of all, any, not, path, header, event_type"]),
        ({"path": "a", "header": "b"}, ["a condition has exactly one of all, any, not, path, header, event_type"]),
        ({"all": []}, ["all: lists at least one condition"]),
        ({"path": "a", "gt": "5"}, ["gt: is a number"]),
        ({"path": "a", "gt": True}, ["gt: is a number"]),
        ({"path": "a", "in": []}, [f"in: lists 1 to {MAX_CHOICES} values"]),
        ({"path": "a", "in": [[1]]}, ["in: lists texts, numbers, true, false or null"]),
        ({"path": "a", "is": {}}, ["is: is a text, a number, true, false or null"]),
        ({"path": "a", "exists": 1}, ["exists: is true or false"]),
        ({"path": "a", "like": 5}, ["like: a pattern is a text of 1 to 1024 characters"]),
        ({"header": "a", "gt": 5}, ["gt: a header is text, which is never compared as a number"]),
        (
            {"path": "header:a", "is": "b"},
            ['path: is a path into the body; write {"header": ...} or {"event_type": ...}'],
        ),
        ({"path": 5, "is": 5}, ['path: a path is a text, such as "order.lines[0].sku"']),
        ({"event_type": []}, [f"event_type: lists 1 to {MAX_CHOICES} patterns"]),
        (
            {"all": [{"path": "a", "is": 1}, {"any": [{"path": "a..b", "is": 1}, {"path": "a", "contains": ""}]}]},
            [
                "all[1].any[0].path: a name has to stand at character 3 of 'a..b'; write odd names as [\"a b\"]",
                "all[1].any[1].contains: what is looked for is a text of 1 to 1024 characters",
            ],
        ),
    ],
)
def test_every_mistake_is_said_with_its_place(document: object, faults: list[str]) -> None:
    assert [str(fault) for fault in check_conditions(document)] == faults
    with pytest.raises(ShapingError) as error:
        compile_conditions(document)
    assert [str(fault) for fault in error.value.faults] == faults


def test_a_misspelt_member_is_not_overlooked() -> None:
    faults = check_conditions({"path": "a", "is": 1, "equals": 2})
    assert [fault.place for fault in faults] == ["equals"]


def test_conditions_are_bounded() -> None:
    leaf = {"path": "a", "is": 1}
    deep: dict[str, Any] = leaf
    for _ in range(MAX_DEPTH - 1):
        deep = {"not": deep}
    assert check_conditions(deep) == ()
    assert [fault.text for fault in check_conditions({"not": deep})] == [f"conditions nest at most {MAX_DEPTH} deep"]
    assert check_conditions({"all": [leaf] * MAX_LEAVES}) == ()
    assert len(check_conditions({"all": [leaf] * (MAX_LEAVES + 1_000)})) == 1
    assert len(check_conditions({"path": "a", "is": 1} | {f"x{n}": 1 for n in range(1_000)})) == MAX_FAULTS


def test_a_dry_run_names_what_was_met_and_what_was_wanted() -> None:
    trace = trace_conditions(
        {
            "all": [
                {"event_type": "order.*"},
                {"not": {"header": "x-shop", "is": "rom"}},
                {"path": "order.total", "gt": 200},
            ]
        },
        FACTS,
    )
    assert trace.verdicts == (
        Verdict("all[0]", passes=True, why=""),
        Verdict("all[1].not", passes=False, why='header:x-shop is "berlin"; wanted: is "rom"'),
        Verdict("all[1]", passes=True, why=""),
        Verdict("all[2]", passes=False, why="order.total is 120; wanted: gt 200"),
        Verdict("", passes=False, why=""),
    )


def test_a_dry_run_stops_where_the_real_one_does() -> None:
    trace = trace_conditions({"all": [{"path": "none", "is": 1}, {"path": "five", "is": "5"}]}, FACTS)
    assert [verdict.why for verdict in trace.verdicts] == ["none is missing; wanted: is 1", ""]


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(["a", "b", "is", "path"]), inner)
    ),
    max_leaves=8,
)
LEAF = st.one_of(
    st.builds(lambda path, operator, value: {"path": path, operator: value},
              st.sampled_from(["a", "a.b", "a[0]", ""]), st.sampled_from(list(OPERATORS)), JSON),
    st.builds(lambda pattern: {"event_type": pattern}, st.text(alphabet="ab*", max_size=4)),
)  # fmt: skip
DOCUMENT = st.recursive(
    st.one_of(LEAF, JSON),
    lambda inner: st.one_of(
        st.builds(lambda parts: {"all": parts}, st.lists(inner, max_size=3)),
        st.builds(lambda parts: {"any": parts}, st.lists(inner, max_size=3)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=6,
)


@given(DOCUMENT, JSON, st.text(alphabet="ab", max_size=4))
def test_any_document_is_refused_or_answers_and_the_dry_run_agrees(document: object, body: object, event: str) -> None:
    facts = Facts(body=msgspec.json.encode(body), headers={}, event_type=event)
    if check_conditions(document):
        with pytest.raises(ShapingError):
            compile_conditions(document)
        return
    passes = compile_conditions(document)(facts)
    assert isinstance(passes, bool)
    assert trace_conditions(document, facts).passes is passes
    assert compile_conditions({"not": document} if _depth(document) < MAX_DEPTH else document)(facts) is (
        not passes if _depth(document) < MAX_DEPTH else passes
    )


def _depth(document: Any) -> int:
    for kind in ("all", "any"):
        if kind in document:
            return 1 + max(_depth(part) for part in document[kind])
    return 1 + _depth(document["not"]) if "not" in document else 1


@given(st.text(alphabet="ab*", min_size=1, max_size=8), st.text(alphabet="ab", max_size=12))
def test_like_is_what_trying_every_way_says(pattern: str, text: str) -> None:
    reachable = {0}
    for letter in pattern:
        if letter == "*":
            reachable = set(range(min(reachable), len(text) + 1)) if reachable else set()
        else:
            reachable = {place + 1 for place in reachable if text[place : place + 1] == letter}
    assert is_like(text, pattern.split("*")) is (len(text) in reachable)


class CountedText(str):  # noqa: SLOT000 (it counts)
    """A text that counts how often it is searched."""

    searches = 0

    def find(self, *arguments: Any) -> int:
        self.searches += 1
        return super().find(*arguments)


def test_like_searches_once_for_each_piece() -> None:
    text = CountedText("a" * 50_000)
    assert not is_like(text, ("*".join("a" * 40) + "*b*").split("*"))
    assert text.searches == 40


def test_what_is_searched_is_paid_for() -> None:
    check = Check()
    test = read_conditions({"path": "a", "contains": "x"}, check, "")
    run = Run(Facts(body=b"", headers={}))
    test(run, {"a": "y" * 64_000})
    assert run.steps_left == MAX_RUN_STEPS - 1_000
