"""Answers without what they quote of a target's credentials, however they are cut into parts."""

import random

import pytest

from relay_contract.quoted import Passing, Quotes, is_text, secrets_of

TOKEN = b"t0ken-of-the-target"
COVER = b"[redacted]*********"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, ()),
        ({"authorization": "Bearer t0ken"}, (b"t0ken",)),
        ({"authorization": "t0ken"}, (b"t0ken",)),
        ({"authorization": "Basic dTpzM2NyZXQ="}, (b"dTpzM2NyZXQ=", b"s3cret")),
        ({"authorization": "Basic dTo="}, (b"dTo=",)),
        ({"authorization": "Basic ?"}, (b"?",)),
        ({"authorization": ""}, ()),
        ({"x-api-key": "8-bytes!", "cookie": "short"}, (b"8-bytes!",)),
        ({"x-acme-token": "sixteen-letters!"}, (b"sixteen-letters!",)),
        ({"x-partition-key": "customers", "accept": "application/json, text/html"}, ()),
    ],
)
def test_what_a_target_may_quote(headers: dict[str, str], found: tuple[bytes, ...]) -> None:
    assert secrets_of(headers) == found


@pytest.mark.parametrize(
    ("kind", "coding", "wanted"),
    [
        (None, None, True),
        (b"text/event-stream; charset=utf-8", None, True),
        (b"Application/JSON", b"identity", True),
        (b"application/problem+json", None, True),
        (b"application/x-www-form-urlencoded", None, True),
        (b"application/json", b"gzip", False),
        (b"image/svg+xml", None, False),
        (b"application/octet-stream", None, False),
        (b"application/jsonish", None, False),
    ],
)
def test_which_bodies_are_text(kind: bytes | None, coding: bytes | None, wanted: bool) -> None:
    lines = [(b"Content-Type", kind), (b"Content-Encoding", coding)]
    assert is_text([(name, value) for name, value in lines if value is not None]) is wanted


def test_quotes_are_covered_byte_for_byte() -> None:
    quotes = Quotes([TOKEN, b"tokens", b"12345678"])
    assert quotes.covered(b"<" + TOKEN + b"> tokens 12345678") == b"<" + COVER + b"> tokens ********"
    assert quotes.covered_lines([(b"X-Echo", b"Bearer " + TOKEN)]) == [(b"X-Echo", b"Bearer " + COVER)]
    assert not Quotes([b"short", b""])


def test_the_longer_of_two_is_covered_whole() -> None:
    assert Quotes([b"inner-secret", b"outer-inner-secret-outer"]).covered(b"outer-inner-secret-outer") == (
        b"[redacted]" + b"*" * 14
    )


def test_only_what_may_become_a_quote_waits() -> None:
    passing = Passing(Quotes([TOKEN]))
    assert passing.next(b"data: 1\n\n", False) == b"data: 1\n\n"
    assert passing.next(b"data: t0ken-of", False) == b"data: "
    assert passing.next(b"", False) == b""
    assert passing.next(b"-others\n\n", False) == b"t0ken-of-others\n\n"
    assert passing.next(b"t", False) == b""
    assert passing.next(b"", True) == b"t"


def test_however_a_body_is_cut_it_comes_out_as_if_it_were_whole() -> None:
    secrets = [TOKEN, b"s3crep-s3crep", b"dTp0MGtlbg=="]  # none ends as another begins
    for seed in range(500):
        chance = random.Random(seed)
        pieces = [*secrets, *(secret[: chance.randrange(len(secret))] for secret in secrets), b"s3crep-", b"\n\n", b"x"]
        body = b"".join(chance.choices(pieces, k=12))
        cuts = sorted(chance.choices(range(len(body) + 1), k=6))
        parts = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        passing, quotes = Passing(Quotes(secrets)), Quotes(secrets)
        passed = [passing.next(part, False) for part in parts] + [passing.next(b"", True)]
        assert b"".join(passed) == quotes.covered(body), (seed, body, parts)
        assert len(quotes.covered(body)) == len(body)
