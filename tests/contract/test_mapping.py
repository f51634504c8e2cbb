"""Mappings: what nodes give, how they fail, and that no mapping or body costs more than its bounds."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.shaping.checking import Check, ShapingError
from relay_contract.shaping.comparisons import OPERATORS
from relay_contract.shaping.facts import Facts
from relay_contract.shaping.mapping import (
    MAX_HEADERS,
    MAX_TRACE_STEPS,
    Shaped,
    TraceStep,
    check_mapping,
    compile_mapping,
    trace_mapping,
)
from relay_contract.shaping.nodes import MAX_CONSTANT_LENGTH, MAX_DEPTH, MAX_NODES, NodeReader
from relay_contract.shaping.run import MAX_EACH_ITEMS, MAX_OUTPUT_BYTES, MAX_RUN_STEPS, MappingError, Run

EVENT = {
    "id": "o-1", "total": 12.5, "count": 3, "big": 10**30, "paid": True, "none": None, "five": "5", "csv": "a,b,,c",
    "person": {"name": "Ada", "card": "4242"}, "lines": [{"n": 1}, {"n": 2}, {}], "nested": [{"x": [1]}, {"x": [2, 3]}],
}  # fmt: skip


def facts(body: object = EVENT, **more: Any) -> Facts:
    return Facts(body=msgspec.json.encode(body), headers={"x-shop": "berlin"}, event_type="order.created", **more)


def made(node: object, body: object = EVENT) -> object:
    """What a node gives, through JSON."""
    shaped = compile_mapping({"body": node})(facts(body))
    assert shaped.body is not None
    assert trace_mapping({"body": node}, facts(body)).shaped == shaped
    return msgspec.json.decode(shaped.body)


@pytest.mark.parametrize(
    ("node", "gives"),
    [
        ({"field": "person.name"}, "Ada"),
        ({"field": "none"}, None),
        ({"field": "none", "default": 1}, None),
        ({"field": "absent", "default": {"a": []}}, {"a": []}),
        ({"field": "header:x-shop"}, "berlin"),
        ({"whole": True}, EVENT),
        ({"constant": None}, None),
        ({"object": {"a": {"field": "id"}, "b": {"field": "absent"}}}, {"a": "o-1"}),
        ({"object": {}}, {}),
        ({"list": [{"field": "id"}, {"field": "absent"}, {"constant": 1}]}, ["o-1", 1]),
        ({"each": "lines", "as": {"field": "n"}}, [1, 2]),
        ({"each": "lines[*]", "as": {"field": "n"}}, [1, 2]),
        ({"each": "nested[*].x", "as": {"whole": True}}, [[1], [2, 3]]),
        ({"each": "nested[*].x[*]", "as": {"whole": True}}, [1, 2, 3]),
        ({"each": "absent", "as": {"whole": True}}, []),
        ({"each": "lines", "where": {"path": "n", "gt": 1}, "as": {"field": "body:id"}}, ["o-1"]),
        ({"each": "nested", "as": {"each": "x", "as": {"string": {"whole": True}}}}, [["1"], ["2", "3"]]),
        ({"if": {"path": "paid", "is": True}, "then": {"constant": 1}, "else": {"constant": 2}}, 1),
        ({"if": {"path": "paid", "is": False}, "then": {"constant": 1}, "else": {"constant": 2}}, 2),
        ({"list": [{"if": {"path": "paid", "is": False}, "then": {"constant": 1}}]}, []),
        (
            {"merge": [{"field": "person"}, {"field": "absent"}, {"constant": {"name": "Bob"}}]},
            {"name": "Bob", "card": "4242"},
        ),
        ({"only": ["name", "absent"], "of": {"field": "person"}}, {"name": "Ada"}),
        ({"without": ["card"], "of": {"field": "person"}}, {"name": "Ada"}),
        ({"list": [{"without": ["card"], "of": {"field": "absent"}}, {"only": ["a"], "of": {"field": "absent"}}]}, []),
        ({"text": "{id}: {total} {count} {paid} {{{big}}}"}, f"o-1: 12.5 3 true {{{10**30}}}"),
        ({"text": "", "default": ""}, ""),
        ({"text": "<{absent}|{none}>", "default": "-"}, "<-|->"),
        ({"join": [{"field": "id"}, {"field": "absent"}, {"field": "count"}], "with": "/"}, "o-1/3"),
        ({"join": {"each": "lines", "as": {"field": "n"}}, "with": ", "}, "1, 2"),
        ({"join": [], "with": ""}, ""),
        ({"split": {"field": "csv"}, "by": ","}, ["a", "b", "", "c"]),
        ({"split": {"field": "csv"}, "by": ",", "at": 1}, "b"),
        ({"list": [{"split": {"field": "csv"}, "by": ",", "at": 9}]}, []),
        ({"number": {"field": "five"}}, 5),
        ({"number": {"constant": "-1.5e2"}}, -150.0),
        ({"number": {"field": "total"}}, 12.5),
        ({"number": {"field": "id"}, "default": 0}, 0),
        ({"number": {"field": "absent"}, "default": 0}, 0),
        ({"string": {"field": "total"}}, "12.5"),
        ({"string": {"field": "paid"}}, "true"),
        ({"boolean": {"constant": "false"}}, False),
        ({"boolean": {"constant": 1}}, True),
        ({"boolean": {"field": "none"}, "default": False}, False),
    ],
)
def test_a_node_gives(node: object, gives: object) -> None:
    assert made(node) == gives


@pytest.mark.parametrize(
    ("node", "place", "code"),
    [
        ({"field": "absent"}, "body", "missing"),
        ({"text": "{absent}"}, "body", "missing"),
        ({"text": "{none}"}, "body", "missing"),
        ({"text": "{person}"}, "body", "not_text"),
        ({"object": {"a": {"number": {"field": "id"}}}}, "body.object.a", "not_a_number"),
        ({"number": {"constant": " 5"}}, "body", "not_a_number"),
        ({"number": {"constant": "0x5"}}, "body", "not_a_number"),
        ({"number": {"constant": "NaN"}}, "body", "not_a_number"),
        ({"number": {"constant": "[1]"}}, "body", "not_a_number"),
        ({"number": {"constant": True}}, "body", "not_a_number"),
        ({"number": {"constant": "9" * 65}}, "body", "not_a_number"),
        ({"boolean": {"constant": "True"}}, "body", "not_a_boolean"),
        ({"boolean": {"constant": 1.0}}, "body", "not_a_boolean"),
        ({"string": {"field": "none"}}, "body", "not_a_string"),
        ({"string": {"field": "lines"}}, "body", "not_a_string"),
        ({"each": "id", "as": {"whole": True}}, "body.each", "not_a_list"),
        ({"each": "none", "as": {"whole": True}}, "body.each", "not_a_list"),
        ({"merge": [{"field": "id"}]}, "body.merge[0]", "not_an_object"),
        ({"only": ["a"], "of": {"field": "id"}}, "body", "not_an_object"),
        ({"without": ["a"], "of": {"field": "lines"}}, "body", "not_an_object"),
        ({"join": {"field": "id"}, "with": ""}, "body", "not_a_list"),
        ({"join": [{"field": "lines"}], "with": ""}, "body", "not_text"),
        ({"split": {"field": "count"}, "by": ","}, "body", "not_text"),
    ],
)
def test_a_node_fails_with_its_place(node: object, place: str, code: str) -> None:
    with pytest.raises(MappingError) as error:
        compile_mapping({"body": node})(facts())
    assert (error.value.place, error.value.code) == (place, code)
    trace = trace_mapping({"body": node}, facts())
    assert trace.shaped is None
    assert trace.error is not None
    assert (trace.error.place, trace.error.code) == (place, code)


def test_an_error_quotes_nothing_of_the_request() -> None:
    with pytest.raises(MappingError) as error:
        compile_mapping({"body": {"number": {"field": "person.card"}}})(facts({"person": {"card": "canary-4242"}}))
    assert "canary" not in str(error.value)


def test_headers_alone_leave_the_body_and_do_not_read_it() -> None:
    mapping = compile_mapping(
        {"headers": {"X-Kind": {"field": "request:event_type"}, "x-none": {"field": "header:none"}}}
    )
    assert mapping(Facts(body=b"<xml>", headers={}, event_type="a")) == Shaped(None, {"x-kind": "a"})


@pytest.mark.parametrize(
    ("node", "code"),
    [({"field": "count"}, "not_text"), ({"field": "none"}, "not_text"), ({"constant": "a\r\nb: c"}, "bad_header"),
     ({"constant": "grün"}, "bad_header"), ({"constant": " a"}, "bad_header"),
     ({"constant": "a" * 4_097}, "bad_header")],
)  # fmt: skip
def test_a_header_is_text_that_http_carries(node: object, code: str) -> None:
    with pytest.raises(MappingError) as error:
        compile_mapping({"headers": {"x-a": node}})(facts())
    assert (error.value.place, error.value.code) == ("headers.x-a", code)


@pytest.mark.parametrize(
    "name", ["webhook-id", "Relay-Attempt", "content-length", "connection", "a b", "", "a:b", "host"]
)
def test_headers_that_are_not_the_mappings_to_set_are_refused(name: str) -> None:
    faults = check_mapping({"headers": {name: {"constant": "x"}}})
    assert len(faults) == 1
    assert faults[0].place.startswith("headers")


@pytest.mark.parametrize("body", [b"", b"text", b"\xff", b"[" * 5_000])
def test_a_body_that_is_not_json_cannot_be_mapped(body: bytes) -> None:
    with pytest.raises(MappingError) as error:
        compile_mapping({"body": {"field": "a", "default": 1}})(Facts(body=body, headers={}))
    assert error.value.code == "not_json"


def test_a_deep_body_passes_or_fails_as_a_mapping_error() -> None:
    mapping = compile_mapping({"body": {"object": {"a": {"whole": True}}}})
    for depth in range(100, 1_200, 50):
        try:
            shaped = mapping(Facts(body=b"[" * depth + b"]" * depth, headers={}))
            assert shaped.body == b'{"a":' + b"[" * depth + b"]" * depth + b"}"
        except MappingError as error:
            assert error.code in {"not_json", "not_encodable"}  # noqa: PT017


NO_NODE = 'a node is an object, such as {"field": "order.id"} or {"constant": 5}'
BRACKETS = """in brackets stands a number from 0, `*` or a quoted name: [0], [*], ["a.b"]; not in 'a['"""


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        (None, ['a mapping is an object with "body", "headers" or both']),
        ({}, ['a mapping is an object with "body", "headers" or both']),
        ({"field": "a"}, ["field: is not known here; known are body, headers"]),
        ({"body": 5}, ["body: " + NO_NODE]),
        ({"body": {"each": "lines"}}, ["body.as: " + NO_NODE]),
        ({"body": {"each": "header:a", "as": {"whole": True}}},
         ["body.each: only a path into the body leads to a list"]),
        ({"body": {"object": {"a.b": {"field": "a["}}}},
         ['body.object["a.b"].field: ' + BRACKETS]),
        ({"body": {"text": "{a"}}, ["body.text: has a brace without its partner; a brace itself is written {{ or }}"]),
        ({"body": {"text": "a}"}}, ["body.text: has a brace without its partner; a brace itself is written {{ or }}"]),
        ({"body": {"whole": False}}, ["body.whole: is true"]),
        ({"body": {"split": {"field": "a"}, "by": "", "at": -1}},
         ["body.by: `by` is a text of 1 to 1024 characters", "body.at: is a number from 0"]),
        ({"body": {"if": {"path": "a"}, "then": {"constant": 1}}},
         ["body.if: says what to compare with: one of " + ", ".join(OPERATORS)]),
        ({"body": {"only": [], "of": {"whole": True}}}, [f"body.only: lists 1 to {MAX_NODES} names of members"]),
        ({"body": {"constant": "x" * MAX_CONSTANT_LENGTH}},
         [f"body.constant: is JSON of at most {MAX_CONSTANT_LENGTH:,} bytes"]),
        ({"headers": [1]}, [f"headers: is an object of at most {MAX_HEADERS} headers, each a node"]),
    ],
)  # fmt: skip
def test_every_mistake_is_said_with_its_place(document: object, faults: list[str]) -> None:
    assert [str(fault) for fault in check_mapping(document)] == faults
    with pytest.raises(ShapingError):
        compile_mapping(document)


def test_documents_are_bounded() -> None:
    leaf = {"constant": 1}
    deep: dict[str, Any] = leaf
    for _ in range(MAX_DEPTH - 1):
        deep = {"list": [deep]}
    assert check_mapping({"body": deep}) == ()
    assert len(check_mapping({"body": {"list": [deep]}})) == 1
    assert check_mapping({"body": {"list": [leaf] * (MAX_NODES - 1)}}) == ()
    assert len(check_mapping({"body": {"list": [leaf] * 100_000}})) == 1
    assert len(check_mapping({"body": {"object": {str(n): leaf for n in range(MAX_NODES)}}})) == 1


EACH_OF_EACH = {"each": "a", "as": {"each": "body:a", "as": {"constant": 1}}}


@pytest.mark.parametrize(
    ("node", "body", "code"),
    [
        ({"each": "a", "as": {"constant": 1}}, {"a": [0] * (MAX_EACH_ITEMS + 1)}, "too_many_items"),
        (EACH_OF_EACH, {"a": [0] * 1_000}, "too_many_steps"),
        ({"each": "a", "as": {"each": "body:a[*].b", "as": {"constant": 1}}}, {"a": [0] * 1_000}, "too_many_steps"),
        ({"each": "a", "where": {"path": "body:b", "contains": "y"}, "as": {"constant": 1}},
         {"a": [0] * 1_000, "b": "x" * 64_000}, "too_many_steps"),
        ({"each": "a", "as": {"split": {"field": "body:b"}, "by": "x", "at": 0}},
         {"a": [0] * 10, "b": "y" * 640_000}, "too_large"),
        ({"each": "a", "as": {"whole": True}}, {"a": ["x" * 200] * 9_000}, "too_large"),
        ({"each": "a", "as": {"field": "body:"}}, {"a": list(range(1_000))}, "too_large"),
        ({"text": "{b}" * 1_000}, {"b": "x" * 10_000}, "too_large"),
        ({"join": {"each": "a", "as": {"constant": 1}}, "with": "x" * 1_000}, {"a": [0] * 9_000}, "too_large"),
        ({"split": {"field": "b"}, "by": ","}, {"b": "," * 20_000}, "too_many_items"),
        ({"list": [{"field": "b"}] * 3}, {"b": "\x01" * 60_000}, "too_large"),
    ],
)  # fmt: skip
def test_what_would_grow_without_bound_is_stopped(node: object, body: object, code: str) -> None:
    with pytest.raises(MappingError) as error:
        compile_mapping({"body": node})(facts(body))
    assert error.value.code == code


def test_steps_are_counted() -> None:
    check = Check()
    make = NodeReader(check, is_traced=False).node({"each": "a", "as": {"object": {"b": {"constant": 1}}}}, "", 1)
    run = Run(facts({"a": [0] * 100}))
    assert make(run, run.root()) == [{"b": 1}] * 100
    assert run.steps_left == MAX_RUN_STEPS - 200


def test_a_small_body_is_not_weighed_and_a_large_one_once() -> None:
    small, large = Run(facts({"a": [1] * 10})), Run(facts({"a": [1] * 600_000}))
    for run in (small, large):
        run.put_out_value("", {"a": [1, 2, 3]})
    assert small.bytes_left == MAX_OUTPUT_BYTES
    assert large.bytes_left == MAX_OUTPUT_BYTES - 7 - 5


def test_a_dry_run_says_what_each_node_gave() -> None:
    trace = trace_mapping(
        {
            "body": {"each": "lines", "where": {"path": "n", "gt": 1}, "as": {"field": "n"}},
            "headers": {"x-a": {"field": "id"}},
        },
        facts(),
    )
    assert trace.steps == (
        TraceStep("headers.x-a", '"o-1"', ""),
        TraceStep("body.where", "false", "n is 1; wanted: gt 1"),
        TraceStep("body.where", "true", ""),
        TraceStep("body.as", "2", ""),
        TraceStep("body.where", "false", "n is missing; wanted: gt 1"),
        TraceStep("body", "[2]", ""),
    )


def test_a_dry_run_is_bounded() -> None:
    trace = trace_mapping({"body": {"each": "a", "as": {"whole": True}}}, facts({"a": ["x" * 1_000] * 900}))
    assert len(trace.steps) == MAX_TRACE_STEPS
    assert {len(step.gave) for step in trace.steps} == {200}


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(["a", "b", "c"]), inner)),
    max_leaves=10,
)
PATH = st.sampled_from(["", "a", "a.b", "a[0]", "body:b", "header:x-shop", "request:id", "b[*].a"])
LEAF = st.one_of(
    st.builds(lambda path, default: {"field": path, "default": default}, PATH, JSON),
    st.builds(lambda path: {"field": path}, PATH),
    st.just({"whole": True}),
    st.builds(lambda value: {"constant": value}, JSON),
    st.builds(lambda text: {"text": text, "default": "-"}, st.text(alphabet="a{}b:", max_size=8)),
    JSON,
)
NODE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.builds(lambda members: {"object": members}, st.dictionaries(st.text(max_size=3), inner, max_size=3)),
        st.builds(lambda items: {"list": items}, st.lists(inner, max_size=3)),
        st.builds(lambda path, item: {"each": path, "as": item, "where": {"path": "a", "exists": True}}, PATH, inner),
        st.builds(lambda items: {"merge": items}, st.lists(inner, max_size=3)),
        st.builds(lambda value: {"without": ["a"], "of": value}, inner),
        st.builds(lambda value: {"join": value, "with": ","}, inner),
        st.builds(lambda value: {"split": value, "by": ",", "at": 1}, inner),
        st.builds(lambda value, kind: {kind: value}, inner, st.sampled_from(["number", "string", "boolean"])),
        st.builds(lambda value: {"if": {"path": "a", "is": 1}, "then": value}, inner),
    ),
    max_leaves=8,
)


@given(NODE, JSON)
def test_any_mapping_is_refused_or_gives_json_or_a_mapping_error(node: object, body: object) -> None:
    document = {"body": node, "headers": {"x-a": node}}
    if check_mapping(document):
        with pytest.raises(ShapingError):
            compile_mapping(document)
        return
    trace = trace_mapping(document, facts(body))
    try:
        shaped = compile_mapping(document)(facts(body))
    except MappingError as error:
        assert trace.error is not None
        assert (error.place, error.code) == (trace.error.place, trace.error.code)  # noqa: PT017
    else:
        assert trace.shaped == shaped
        assert shaped.body is not None
        msgspec.json.decode(shaped.body)


@given(JSON)
def test_the_whole_is_the_whole_and_nothing_of_the_body_is_changed(body: object) -> None:
    request = facts(body)
    before = msgspec.json.encode(request.document())
    assert compile_mapping({"body": {"whole": True}})(request).body == before
    assert made({"list": [{"whole": True}, {"whole": True}]}, body) == [msgspec.json.decode(before)] * 2
    assert msgspec.json.encode(request.document()) == before
