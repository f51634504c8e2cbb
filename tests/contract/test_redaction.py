"""What people may see: canaries in every kind of body, header and query."""

import json
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.redaction import HIDDEN, MAX_RULES, Redaction, check_rules

SECRET = "c4n4ry-value"
NONE = Redaction()
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("rules", "body", "shown"),
    [
        ((), {"a": 1}, {"a": 1}),
        ((), {"password": SECRET, "a": [{"accessToken": SECRET, "client_secret": {"x": SECRET}}]},
         {"password": "[redacted]", "a": [{"accessToken": "[redacted]", "client_secret": "[redacted]"}]}),
        ((), {"token": None, "note": "a Bearer " + SECRET}, {"token": None, "note": "a Bearer [redacted]"}),
        ((), {"sk-" + SECRET: 1}, {"[redacted]": 1}),
        (("card.number",), {"card": {"number": SECRET, "n": 1}}, {"card": {"number": "[redacted]", "n": 1}}),
        (("card",), {"card": {"number": SECRET}}, {"card": "[redacted]"}),
        (("body:lines[*].pin",), {"lines": [{"pin": SECRET}, {"n": 1}, {"pin": [SECRET]}]},
         {"lines": [{"pin": "[redacted]"}, {"n": 1}, {"pin": "[redacted]"}]}),
        (("lines[1]",), {"lines": [1, SECRET]}, {"lines": [1, "[redacted]"]}),
        (("",), [SECRET], "[redacted]"),
    ],
)  # fmt: skip
def test_json_is_redacted_and_stays_json(rules: tuple[str, ...], body: object, shown: object) -> None:
    assert json.loads(Redaction(rules).body(JSON, json.dumps(body).encode())) == shown


def test_a_body_without_secrets_is_the_same_bytes() -> None:
    body = b' {"a" : 1.0e2, "\\u0062": [ ] }\n'
    assert NONE.body(JSON, body) == body
    assert Redaction(("none.such",)).body(JSON, body) == body


@pytest.mark.parametrize(
    ("rules", "body"),
    [
        (("x.a",), f'{{"x": {{"a": "{SECRET}"}}, "x": 1}}'),
        ((), f'{{"x": {{"accessToken": "{SECRET}"}}, "x": 1}}'),
        ((), f'{{"apiToken": "{SECRET}", "apiToken": null}}'),
        (("a",), f'{{"\\u0061": "{SECRET}"}}'),
        (("a",), f'\ufeff{{"a": "{SECRET}"}}'),
        (("a",), f'{{"a": "{SECRET}"'),
        (("a",), f'{{"a": "{SECRET}"}} {{"a": 1}}'),
        (("a",), f'{{"a": "{SECRET}", "b": NaN}}'),
        (("a",), f'{{"a": "{SECRET}", "b": ' + "[" * 100_000),
        (("a..b",), f'{{"a": "{SECRET}"}}'),
    ],
)
def test_nothing_hides_in_how_json_is_written(rules: tuple[str, ...], body: str) -> None:
    for content_type in (JSON, "application/problem+json; charset=utf-8", "text/plain", "", FORM):
        assert SECRET.encode() not in Redaction(rules).body(content_type, body.encode())


def test_forms_are_redacted_and_stay_forms() -> None:
    fields = [
        ("name", "Ada L"),
        ("password", SECRET),
        ("user[api_key]", SECRET),
        ("card[no]", SECRET),
        ("url", "http://u:p@h/"),
    ]
    shown = Redaction(("card.no",)).body(FORM, urlencode(fields).encode()).decode()
    assert parse_qsl(shown) == [
        ("name", "Ada L"),
        ("password", "[redacted]"),
        ("user[api_key]", "[redacted]"),
        ("card[no]", "[redacted]"),
        ("url", "http://[redacted]@h/"),
    ]
    assert NONE.query("a=b+c&d&=e&f=%41") == "a=b+c&d&=e&f=%41"


PART = '--B\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'


def test_multipart_forms_are_redacted() -> None:
    content_type = 'multipart/form-data; boundary="B"'
    parts = [("note", "", "hello"), ("password", "", SECRET), ("pin", '; filename="a;b"', SECRET)]
    body = "".join(PART.format(*part) for part in parts) + "--B--\r\n"
    shown = Redaction(("pin",)).body(content_type, body.encode()).decode()
    assert shown == body.replace(SECRET, "[redacted]")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", PART.format("a", "", SECRET)),
        ("multipart/form-data; boundary=X", PART.format("a", "", SECRET)),
        ("multipart/form-data; boundary=B", f"--B\r\nContent-Disposition: form-data\r\n\r\n{SECRET}\r\n--B--"),
        ("multipart/form-data; boundary=B", f"--B\nname=a\n\n{SECRET}\n--B--"),
    ],
)
def test_a_form_that_cannot_be_read_is_hidden(content_type: str, body: str) -> None:
    assert SECRET.encode() not in Redaction(("a",)).body(content_type, body.encode())


def test_headers_are_redacted_by_name_rule_and_look() -> None:
    shown = Redaction(("header:X-Session",)).headers(
        {"Authorization": SECRET, "x-session": SECRET, "x-api-key": SECRET, "client-secret": SECRET,
         "x-note": "Bearer " + SECRET, "accept": "*/*"}
    )  # fmt: skip
    assert shown == {
        "Authorization": "[redacted]",
        "x-session": "[redacted]",
        "x-api-key": "[redacted]",
        "client-secret": "[redacted]",
        "x-note": "Bearer [redacted]",
        "accept": "*/*",
    }


def test_rules_are_checked_where_they_are_saved() -> None:
    assert check_rules(["card.number", "lines[*].pin", "header:x-session", "body:a"]) == ()
    faults = check_rules(["a..b", "header: ", "", "a" * 600])
    assert [fault.place for fault in faults] == ["[0]", "[1]", "[2]", "[3]"]
    assert [str(fault) for fault in check_rules(["a"] * (MAX_RULES + 1))] == [f"at most {MAX_RULES} rules fit"]


def test_a_rule_that_cannot_be_read_hides_every_body() -> None:
    assert Redaction(("a[",)).body("text/plain", b"hello") == HIDDEN
    assert Redaction(("a[",)).body("text/plain", b"") == b""


def test_bytes_that_are_no_text_stay() -> None:
    body = bytes(range(256))
    assert NONE.body("application/octet-stream", body) == body
    assert Redaction(("a",)).body("image/png", body) == body


VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "token", "apiKey"]), inner)
    ),
    max_leaves=8,
)


@given(VALUE, st.booleans())
def test_a_ruled_value_is_never_shown_and_the_rest_stays(value: object, is_nested: bool) -> None:
    document = {"top": [{"hide": [SECRET, value]}], "hide": SECRET, "keep": "visible"}
    shown = json.loads(Redaction(("top[*].hide", "hide")).body(JSON, json.dumps(document).encode()))
    assert shown == {"top": [{"hide": "[redacted]"}], "hide": "[redacted]", "keep": "visible"}


@given(
    st.sampled_from([JSON, FORM, "multipart/form-data; boundary=b", "multipart/form-data", "", ';;="', "text/xml"]),
    st.binary(max_size=60),
    st.lists(st.text(alphabet='a.[*]"0:', max_size=6), max_size=3),
)
def test_nothing_raises(content_type: str, body: bytes, rules: list[str]) -> None:
    redaction = Redaction(rules)
    assert isinstance(redaction.body(content_type, body), bytes)
    text = body.decode("latin-1")
    assert isinstance(redaction.query(text), str)
    assert len(redaction.headers({text: text})) == 1
    check_rules(rules)
