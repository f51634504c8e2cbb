"""A stream's usage is asked for in the caller's own bytes, and a call is estimated from them."""

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.nouns import WireShape
from relay_edge.protocols import SURFACES
from relay_edge.protocols.estimate import BLOB_TOKENS, MAX_TOKENS, estimate
from relay_edge.protocols.model_name import read_model_request
from relay_edge.protocols.openai_chat.ask_usage import request_for
from tests.edge.test_model_name import documents, indents, is_ambiguous, names

OPTIONS: st.SearchStrategy[Any] = st.none() | st.dictionaries(
    st.sampled_from(["include_usage", "include_obfuscation", "model", "x"]), st.booleans() | st.none(), max_size=3
)
TAKEN = ("stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens", "n")


@given(
    documents,
    names,
    names,
    st.randoms(use_true_random=False),
    st.tuples(st.booleans(), indents, OPTIONS | st.just(...)),
)
def test_the_document_gains_one_field(
    others: dict[str, Any], before: str, after: str, chance: random.Random, form: tuple[bool, int | str | None, Any]
) -> None:
    ascii_only, indent, options = form
    pairs = [*((key, value) for key, value in others.items() if key not in TAKEN), ("model", before), ("stream", True)]
    if options is not ...:
        pairs.append(("stream_options", options))
    chance.shuffle(pairs)
    body = json.dumps(dict(pairs), ensure_ascii=ascii_only, indent=indent).encode()
    asked, is_hidden = request_for(read_model_request(body), after)
    given_options = {} if options in (None, ...) else options
    assert is_hidden is (given_options.get("include_usage") is not True)
    meant = dict(pairs) | {"model": after}
    if is_hidden:
        meant["stream_options"] = given_options | {"include_usage": True}
    assert json.loads(asked) == meant
    if options is ... and not is_ambiguous(body):
        written = json.dumps(before, ensure_ascii=ascii_only).encode()
        start = body.index(written, body.index(b'"model"') + 7)
        added = msgspec.json.encode(after) + b',"stream_options":{"include_usage":true}'
        assert asked == body[:start] + added + body[start + len(written) :]


@pytest.mark.parametrize(
    ("body", "asked", "is_hidden"),
    [
        (b'{"model":"a","stream":true}', b'{"model":"b","stream_options":{"include_usage":true},"stream":true}', True),
        (b'{"model": "b" , "stream": true}',
         b'{"model": "b","stream_options":{"include_usage":true} , "stream": true}', True),
        (b'{"model":"a","stream":false}', b'{"model":"b","stream":false}', False),
        (b'{"model":"a"}', b'{"model":"b"}', False),
        (b'{"model":"a","stream":true,"stream_options":{"include_usage":true}}',
         b'{"model":"b","stream":true,"stream_options":{"include_usage":true}}', False),
        (b'{"model":"a","stream":true,"stream_options":{"x":1e400,"include_usage":false}}',
         b'{"model":"b","stream":true,"stream_options":{"x":1e400,"include_usage":true}}', True),
        (b'{"model":"a","stream":true,"stream_options":null}',
         b'{"model":"b","stream":true,"stream_options":{"include_usage":true}}', True),
        # two of them, or one in disguise: hosts differ in which they believe, so one goes on
        (b'{"model":"a","stream_options":{"include_usage":true},"stream":true,"stream_options":{}}',
         b'{"model":"b","stream_options":{"include_usage":true},"stream":true}', True),
        (b'{"model":"a","stream":true,"stream_\\u006fptions":{}}',
         b'{"model":"b","stream":true,"stream_options":{"include_usage":true}}', True),
        (b'{"model":"a","x":{"model":"c"},"stream":true}',
         b'{"model":"b","x":{"model":"c"},"stream":true,"stream_options":{"include_usage":true}}', True),
        # what is no object, or no answer to the question, is the host's to refuse
        (b'{"model":"a","stream":true,"stream_options":[]}', b'{"model":"b","stream":true,"stream_options":[]}', False),
        (b'{"model":"a","stream":true,"stream_options":{"include_usage":"yes"}}',
         b'{"model":"b","stream":true,"stream_options":{"include_usage":"yes"}}', False),
    ],
)  # fmt: skip
def test_cases(body: bytes, asked: bytes, is_hidden: bool) -> None:
    assert SURFACES[WireShape.OPENAI_CHAT].request_for(read_model_request(body), "b") == (asked, is_hidden)


def test_a_message_says_what_it_used_without_being_asked() -> None:
    request = read_model_request(b'{"model":"a","stream":true}')
    assert SURFACES[WireShape.ANTHROPIC_MESSAGES].request_for(request, "b") == (b'{"model":"b","stream":true}', False)


# --- estimates ---


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({}, None),
        ({"max_tokens": 100}, 100),
        ({"max_output_tokens": 7}, 7),
        ({"max_completion_tokens": 50, "max_tokens": 100}, 50),
        ({"max_completion_tokens": None, "max_tokens": 100, "n": 3}, 300),
        ({"max_tokens": 0, "n": 0}, 0),
        ({"max_tokens": 999_999_999, "n": 128}, MAX_TOKENS),
        *(({"max_tokens": odd, "n": odd}, None) for odd in ("5", -5, 1.5, [1], {"a": 1}, True, 10**40)),
    ],
)
def test_the_most_that_an_answer_may_hold(fields: dict[str, Any], most: int | None) -> None:
    assert estimate(read_model_request(json.dumps({"model": "a", **fields}).encode()))[1] == most


def tokens(content: Any) -> int:
    body = json.dumps({"model": "a", "messages": [{"role": "user", "content": content}]}).encode()
    return estimate(read_model_request(body))[0]


BLOB = "iVBORw0KGgo+/" * 10_000


def test_four_characters_a_token() -> None:
    assert estimate(read_model_request(b'{"model":"a"}'))[0] == 4
    assert tokens("word " * 20_000) == tokens("") + 25_000
    assert tokens("a" * 8_000) == tokens("") + 2_000  # a long word, but no blob


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BLOB}"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BLOB}},
        {"type": "input_audio", "input_audio": {"data": BLOB, "format": "wav"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{BLOB}"}},
    ],
)
def test_base64_is_not_read_by_the_character(part: dict[str, Any]) -> None:
    assert BLOB_TOKENS <= tokens([part]) < BLOB_TOKENS + 60
    assert 2 * BLOB_TOKENS <= tokens([part, part]) < 2 * BLOB_TOKENS + 100


def test_base64_with_escaped_slashes_and_text_with_escaped_letters() -> None:
    escaped = b'{"model":"a","x":"data:image/png;base64,%b"}' % BLOB.replace("/", "\\/").encode()
    assert estimate(read_model_request(escaped))[0] < BLOB_TOKENS + 20
    assert tokens("\u4f60\u597d" * 2_000) > 4_000  # json.dumps writes six bytes for each


def test_no_estimate_is_beyond_all_models() -> None:
    assert tokens("word " * 2_000_000) == MAX_TOKENS
