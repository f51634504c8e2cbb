"""Client credentials: the call, and what token endpoints answer."""

import base64
import json
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.oauth2 import ClientAuth, ClientCredentials, Token, TokenError, read_token, token_request

NOW = 1_700_000_000.0


def credentials(**changed: str) -> ClientCredentials:
    client_auth = ClientAuth(changed.pop("client_auth", "basic"))
    fields = {
        "token_url": "https://a.example/token",
        "client_id": "s6BhdRkqt3",
        "client_secret": "7Fjfp0ZBr1KtDRbnfVdmIw",
    }
    return ClientCredentials(**fields | changed, client_auth=client_auth)


def test_the_example_of_the_rfc() -> None:
    """RFC 6749, sections 2.3.1 and 4.4.2: the client of its examples."""
    request = token_request(credentials())
    assert request.url == "https://a.example/token"
    assert request.headers == {
        "accept": "application/json",
        "authorization": "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3",
        "content-type": "application/x-www-form-urlencoded",
    }
    assert request.body == b"grant_type=client_credentials"


def test_credentials_in_the_body() -> None:
    request = token_request(credentials(client_auth="body", scope="a b", audience="https://api.example/?x=1&y"))
    assert "authorization" not in request.headers
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["s6BhdRkqt3"],
        "client_secret": ["7Fjfp0ZBr1KtDRbnfVdmIw"],
        "scope": ["a b"],
        "audience": ["https://api.example/?x=1&y"],
    }


def test_a_colon_cannot_move_the_boundary() -> None:
    request = token_request(credentials(client_id="a:b", client_secret="c é+:"))
    pair = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
    assert pair == "a%3Ab:c+%C3%A9%2B%3A"


@pytest.mark.parametrize("client_auth", ["basic", "body"])
def test_nothing_printed_holds_the_secret(client_auth: str) -> None:
    made = credentials(client_auth=client_auth, client_secret="canary")
    request = token_request(made)
    assert "canary" not in repr(made) + repr(request)
    assert base64.b64encode(b"s6BhdRkqt3:canary").decode() not in repr(request)
    assert "canary" not in repr(Token("canary", NOW, NOW))


def answer(**fields: object) -> bytes:
    return json.dumps({"access_token": "t", "token_type": "Bearer"} | fields).encode()


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [
        (3600, 3540),
        (120, 60),
        (100, 50),
        (0, 0),
        ("3600", 3540),
        (3600.0, 3540),
        (10**30, 86_340),
        (1e300, 86_340),
        (-1, 240),
        (None, 240),
        (True, 240),
        ("soon", 240),
        ([], 240),
    ],
)
def test_when_a_token_is_given_up(expires_in: object, life: float) -> None:
    token = read_token(200, answer(expires_in=expires_in), NOW)
    assert token.expires_at == NOW + life
    assert not token.is_usable(token.expires_at)
    assert token.is_usable(token.expires_at - 1)
    assert token.authorization() == "Bearer t"


def test_answers_that_leave_something_out() -> None:
    assert read_token(200, b'{"access_token":"abc.def-_~+/="}', NOW) == Token("abc.def-_~+/=", NOW + 240, NOW + 192)
    assert read_token(200, b'{"access_token":"t","token_type":"bearer","extra":[{}]}', NOW).value == "t"


@pytest.mark.parametrize(
    ("status", "body", "text", "is_refusal"),
    [
        (401, b'{"error":"invalid_client","error_description":"canary"}', "refused with 401 invalid_client.", True),
        (400, b'{"error":"invalid_scope"}', "refused with 400 invalid_scope.", True),
        (200, b'{"error":"unauthorized_client"}', "refused with 200 unauthorized_client.", True),
        (400, b'{"error":"canary has A Secret"}', "answered 400.", True),
        (403, b"<html>canary", "answered 403.", True),
        (500, b'{"error":"server_error"}', "refused with 500 server_error.", False),
        (503, b"canary", "answered 503.", False),
        (302, b"", "answered 302.", False),
        (201, answer(), "answered 201.", False),
        (200, b"", "no token", False),
        (200, b"canary", "no token", False),
        (200, b"[]", "no token", False),
        (200, b"[" * 60_000, "no token", False),
        (200, b'{"access_token":"\xff"}', "no token", False),
        (200, b"{}", "no access_token", False),
        (200, answer(access_token=""), "no access_token", False),
        (200, answer(access_token=3), "no access_token", False),
        (200, answer(access_token="canary\r\nx: y"), "no access_token", False),
        (200, answer(access_token="canary é"), "no access_token", False),
        (200, answer(access_token="c" * 16_385), "longer than 16384", False),
        (200, answer(token_type="mac"), "not of the type Bearer", False),
        (200, answer(token_type=None), "not of the type Bearer", False),
        (200, answer(access_token="c" * 65_536), "more than 65536 bytes", False),
    ],
)
def test_answers_without_a_token(status: int, body: bytes, text: str, is_refusal: bool) -> None:
    with pytest.raises(TokenError, match=text) as caught:
        read_token(status, body, NOW)
    assert caught.value.is_refusal is is_refusal
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.integers(100, 599), st.binary(max_size=60))
def test_any_answer_is_a_token_or_the_one_error(status: int, body: bytes) -> None:
    with pytest.raises(TokenError):
        read_token(status, body, NOW)
