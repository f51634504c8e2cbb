"""The model of a request is found and replaced without touching another byte."""

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.errors import BadField, BadRequest, MalformedJson
from relay_edge.protocols.model_name import read_model_request

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.just("model"), inner, max_size=4)
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.text(max_size=8).filter(lambda key: key not in ("model", "stream")), values, max_size=5)
names = st.text(min_size=1, max_size=12)
indents: st.SearchStrategy[int | str | None] = st.sampled_from([None, 1, "\t"])


def is_ambiguous(body: bytes) -> bool:
    """Whether the word stands in the document more than once, or may stand there in disguise."""
    return body.count(b'"model"') != 1 or b"\\u006" in body.lower()


@given(documents, names, names, st.randoms(use_true_random=False), st.tuples(st.booleans(), indents))
def test_only_the_model_changes(
    others: dict[str, Any], before: str, after: str, chance: random.Random, style: tuple[bool, int | str | None]
) -> None:
    ascii_only, indent = style
    pairs = [*others.items(), ("model", before)]
    chance.shuffle(pairs)
    written = json.dumps(before, ensure_ascii=ascii_only)
    body = json.dumps(dict(pairs), ensure_ascii=ascii_only, indent=indent).encode()
    request = read_model_request(body)
    assert request.model == before
    changed = request.for_model(after)
    assert json.loads(changed) == dict(pairs) | {"model": after}
    assert list(json.loads(changed)) == [key for key, _ in pairs]
    if not is_ambiguous(body):
        start = body.index(written.encode(), body.index(b'"model"') + 7)
        value = written.encode() if after == before else msgspec.json.encode(after)
        assert changed == body[:start] + value + body[start + len(written.encode()) :]


@given(documents, names, names)
def test_values_keep_their_bytes_in_an_ambiguous_document(others: dict[str, Any], first: str, second: str) -> None:
    """Two keys: hosts differ in which one they believe, so only one of them may go on."""
    inner = json.dumps(others, indent=1)
    body = f'{{"model": {json.dumps(first)}, "x" : {inner}, "model":{json.dumps(second)}}}'.encode()
    request = read_model_request(body)
    assert request.model == second
    for name in (second, "new"):
        assert request.for_model(name) == b'{"model":%b,"x":%b}' % (msgspec.json.encode(name), inner.encode())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a"}', b'{"model":"b"}'),
        (b' { "model"\n:\t"a" } ', b' { "model"\n:\t"b" } '),
        (b'{"model":"\\u0061"}', b'{"model":"b"}'),
        (b'{"x":"\\"model\\":\\"a\\"","model":"a"}', b'{"x":"\\"model\\":\\"a\\"","model":"b"}'),
        (b'{"m\\u006fdel":"a","x":{"model":"a"}}', b'{"model":"b","x":{"model":"a"}}'),
        (b'{"x":{"model":"a"},"m\\u006Fdel":"a"}', b'{"x":{"model":"a"},"model":"b"}'),
        (b'{"x\\\\\\"model":"a","model":"a"}', b'{"x\\\\\\"model":"a","model":"b"}'),
        (b'{"x":["model"],"model":"a"}', b'{"x":["model"],"model":"b"}'),
        (b'{"model":"a","n":1e400,"i":123456789012345678901234567890}',
         b'{"model":"b","n":1e400,"i":123456789012345678901234567890}'),
        (b'{"model":"a","tools":[{"model":1.0}],"n":1e400}', b'{"model":"b","tools":[{"model":1.0}],"n":1e400}'),
    ],
)  # fmt: skip
def test_cases(body: bytes, expected: bytes) -> None:
    request = read_model_request(body)
    assert request.model == "a"
    assert request.for_model("b") == expected


@pytest.mark.parametrize("stream", [True, False, None])
def test_stream(stream: bool | None) -> None:
    assert read_model_request(json.dumps({"model": "a", "stream": stream}).encode()).is_stream is bool(stream)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"", MalformedJson, "not valid JSON"),
        (b"nul", MalformedJson, "not valid JSON"),
        (b'{"model":"a"', MalformedJson, "not valid JSON"),
        (b'{"model":"a"}x', MalformedJson, "not valid JSON"),
        (b'{"model":"a","x":"\xff"}', MalformedJson, "UTF-8"),
        (b'{"model":"a","x":"\xed\xa0\x80"}', MalformedJson, "UTF-8"),
        (b'{"model":"a","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}", MalformedJson, "nested"),
        (b'{"model":"a","x":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}", MalformedJson, "nested"),
        (b"[]", BadRequest, "array"),
        (b"{}", BadField, "model: is missing"),
        (b'{"model":null}', BadRequest, "model"),
        (b'{"model":"a","stream":"yes"}', BadRequest, "stream"),
    ],
)
def test_what_is_no_request(body: bytes, error: type[BadRequest], words: str) -> None:
    with pytest.raises(error) as raised:
        read_model_request(body)
    assert type(raised.value) is error
    assert words in raised.value.public_text
