"""JSON Schemas: what they say of a value, and that none of them can be made to cost more than it should."""

import json
import threading
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.schemas import SchemaError, Violation, compile_schema

ORDER = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["id", "lines"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "pattern": "^ord_[a-z0-9]+$", "maxLength": 20},
        "email": {"format": "email"},
        "state": {"enum": ["paid", "open"]},
        "lines": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"$ref": "#/$defs/line"}},
    },
    "$defs": {"line": {"type": "object", "properties": {"a/b~c": {"type": "integer", "minimum": 1}}}},
}


def order(**changed: object) -> dict[str, object]:
    return {"id": "ord_1", "lines": [{}], **changed}


@pytest.mark.parametrize(
    ("value", "violation"),
    [
        (order(), None),
        (order(lines=[{"a/b~c": 2}], state="paid", email="a@example.com"), None),
        (["secret"], Violation("", "type", "is not of type object")),
        ({"id": "ord_1"}, Violation("", "required", 'lacks the property "lines"')),
        (order(id="secret"), Violation("/id", "pattern", 'does not match the pattern "^ord_[a-z0-9]+$"')),
        (order(id="ord_" + "a" * 20), Violation("/id", "maxLength", "has more characters than 20")),
        (order(email="secret"), Violation("/email", "format", 'is not in the format "email"')),
        (order(state="secret"), Violation("/state", "enum", "is none of the values that are allowed")),
        (order(secret=1), Violation("", "additionalProperties", "has a property that is not in the schema")),
        (order(lines=[]), Violation("/lines", "minItems", "has fewer items than 1")),
        (order(lines=[{}, {"a/b~c": 0}]), Violation("/lines/1/a~1b~0c", "minimum", "is less than 1")),
        (order(lines=["secret"]), Violation("/lines/0", "type", "is not of type object")),
    ],
)
def test_a_violation_names_the_place_and_the_rule_and_never_the_value(
    value: object, violation: Violation | None
) -> None:
    assert compile_schema(ORDER).check(value) == violation
    assert "secret" not in str(violation)


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_alternatives_are_refused_as_a_whole(keyword: str) -> None:
    schema = compile_schema({"properties": {"a": {keyword: [{"type": "string"}, {"minimum": 5, "type": "integer"}]}}})
    assert schema.check({"a": 5}) is None
    found = schema.check({"a": 4})
    assert found is not None
    assert (found.path, found.keyword) == ("/a", keyword)


@pytest.mark.parametrize("document", [True, False, {}])
def test_the_smallest_schemas(document: bool | dict[str, Any]) -> None:
    assert (compile_schema(document).check(1) is None) == (document is not False)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "is a JSON object"),
        (None, "is a JSON object"),
        ({"pattern": "(?=a)"}, "The pattern at /pattern cannot be used"),
        ({"pattern": r"(a)\1"}, "linear time"),
        ({"pattern": "(a{1000}){1000}"}, "too large"),
        ({"pattern": "["}, "no regular expression"),
        ({"patternProperties": {"(?<!x)a": True}}, "The pattern at /patternProperties/"),
        ({"$ref": "http://169.254.169.254/latest"}, "leads out of the schema"),
        ({"$ref": "file:///etc/passwd"}, "leads out of the schema"),
        ({"$ref": "//example.com/x"}, "leads out of the schema"),
        ({"$ref": "other.json#/a"}, "leads out of the schema"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "leads out of the schema"),
        ({"$ref": 7}, "leads out of the schema"),
        ({"$ref": "#anchor"}, "leads out of the schema"),
        ({"items": {"$ref": "#/$defs/none"}}, "leads to no place"),
        ({"$ref": "#/type", "type": "string"}, "is no schema"),
        ({"items": {"$dynamicRef": "http://example.com/"}}, r"\$dynamicRef is not supported"),
        ({"items": {"$id": "http://example.com/", "$ref": "#/a"}}, r"\$id is only supported at the top"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "not of draft 2020-12"),
        ({"$schema": "http://example.com/"}, "not of draft 2020-12"),
        ({"type": "text"}, "not valid at /type"),
        ({"properties": 3}, "not valid at /properties"),
        ({"items": [{}]}, "not valid at /items"),
        ({"multipleOf": 0}, "not valid at /multipleOf"),
        ({"const": "\ud800"}, "not Unicode"),
        ({"description": "x" * 65_536}, "at most 65536 are kept"),
    ],
)
def test_a_schema_that_is_refused_says_why(document: object, message: str) -> None:
    with pytest.raises(SchemaError, match=message) as caught:
        compile_schema(document)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 500


def nested(depth: int, around: str = "not") -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(depth):
        document = {around: document}
    return document


def test_depth_is_bounded_without_recursion() -> None:
    compile_schema(nested(31))
    for depth in (32, 100_000):
        with pytest.raises(SchemaError, match="deeper than 32 levels"):
            compile_schema(nested(depth))


@pytest.mark.parametrize("where", ["anyOf", "allOf", "oneOf"])
@pytest.mark.parametrize("around", [None, "items", "additionalProperties"])
def test_references_that_multiply_are_refused(where: str, around: str | None) -> None:
    def twice(number: int) -> dict[str, Any]:
        part: dict[str, Any] = {"$ref": f"#/$defs/a{number + 1}"}
        return {where: [{around: part} if around else part] * 2}

    document = {"$ref": "#/$defs/a0", "$defs": {f"a{number}": twice(number) for number in range(40)} | {"a40": {}}}
    with pytest.raises(SchemaError, match="more than 20000 subschemas"):
        compile_schema(document)


def test_a_long_chain_of_references_is_no_deep_recursion() -> None:
    chain = {f"a{number}": {"$ref": f"#/$defs/a{number + 1}"} for number in range(1500)} | {"a1500": {"type": "string"}}
    schema = compile_schema({"$ref": "#/$defs/a0", "$defs": chain})
    assert schema.check("x") is None
    assert schema.check(1) is not None


TREE = {
    "anyOf": [
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 0},
        {"const": 1},
    ]
}


def test_a_recursive_schema_is_not_explained_by_trying_every_way() -> None:
    """Asking the library for its words took 13 s at depth 16 and grew 2.5 times a level."""
    schema = compile_schema(TREE)
    assert schema.check(json.loads("[" * 900 + "1" + "]" * 900)) is None
    assert schema.check(json.loads("[" * 900 + "2" + "]" * 900)) == Violation("", "schema", "does not match the schema")


def test_a_large_value_is_not_explained_by_every_alternative_of_every_item() -> None:
    schema = compile_schema({"anyOf": [{"items": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, {"const": 0}]})
    assert schema.check([1] * 10) == Violation("", "anyOf", "matches none of the alternatives")
    assert schema.check([1] * 100_000) == Violation("", "schema", "does not match the schema")


def test_many_subschemas_on_many_values_are_refused_before_they_are_tried() -> None:
    schema = compile_schema({"items": {"allOf": [{"not": {"const": number}} for number in range(1000)]}})
    assert schema.check([-1] * 1000) is None
    assert schema.check([-1] * 500_000) == Violation("", "size", "holds more values than its schema can be checked for")


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ({"patternProperties": {f"^k{n}.*a": {} for n in range(1500)}}, {str(n): 1 for n in range(100_000)}),
        ({"items": {"enum": [[n] for n in range(5000)]}}, [[4999]] * 100_000),
        ({"items": {"enum": [*range(2500), *map(str, range(2500))]}}, ["2499"] * 100_000),
        ({"items": {"dependentRequired": {str(n): ["a"] for n in range(3000)}}}, [{"x": 1}] * 100_000),
    ],
    ids=["patterns for names", "lists to choose from", "mixed to choose from", "dependencies"],
)
def test_what_is_tried_in_turn_is_refused_before_it_is_tried(document: dict[str, Any], value: Any) -> None:
    """These took between 2 and more than 50 s."""
    schema = compile_schema(document)
    assert schema.check(type(value)()) is None
    found = schema.check(value)
    assert found is not None
    assert found.keyword == "size"


def test_a_long_list_of_words_is_looked_up() -> None:
    schema = compile_schema({"items": {"enum": [f"v{number}" for number in range(5000)]}})
    assert schema.check(["v4999"] * 100_000) is None
    assert schema.check(["v5000"]) == Violation("/0", "enum", "is none of the values that are allowed")


def test_what_false_refuses() -> None:
    schema = compile_schema({"properties": {"a": False}})
    assert schema.check({}) is None
    assert schema.check({"a": 1}) == Violation("/a", "falseSchema", "is not allowed here")


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "(.*a){12}b", "[ab]*a[ab]{12}$"])
def test_patterns_that_choke_other_engines(pattern: str) -> None:
    assert compile_schema({"pattern": pattern}).check("a" * 50_000 + "!") is not None


def test_the_deepest_value_that_our_decoder_gives_is_checked_on_a_small_stack() -> None:
    """jsonschema-rs recurses in C; at 200,000 levels it would overflow any stack. msgspec refuses above 1,000."""
    with pytest.raises(RecursionError):
        msgspec.json.decode(b"[" * 1010 + b"]" * 1010)
    value = msgspec.json.decode(b"[" * 900 + b"]" * 900)
    schema = compile_schema({"items": {"$ref": "#"}, "type": "array"})
    found: list[Violation | None] = []
    size = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(schema.check(value)))
        thread.start()
    finally:
        threading.stack_size(size)
    thread.join()
    assert found == [None]


@pytest.mark.parametrize("document", [{"type": "string"}, {"maxLength": 100}, {"enum": ["a"]}])
def test_text_that_is_not_unicode(document: dict[str, Any]) -> None:
    """`json.loads` lets a lone surrogate through."""
    value = json.loads('"\\ud800"')
    assert compile_schema(document).check(value) == Violation("", "encoding", "holds text that is not Unicode")


def test_a_path_is_cut() -> None:
    found = compile_schema({"additionalProperties": {"type": "string"}}).check({"k" * 10_000: 1})
    assert found is not None
    assert len(found.path) == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
KEYWORDS = ["type", "items", "properties", "anyOf", "$ref", "pattern", "enum", "const", "not", "$id", "minimum"]


@given(st.dictionaries(st.sampled_from(KEYWORDS), JSON, max_size=3), JSON)
def test_any_document_is_compiled_or_refused(document: dict[str, Any], value: object) -> None:
    try:
        schema = compile_schema(document)
    except SchemaError:
        return
    schema.check(value)
