"""Access tokens: what is written is read, and nothing else. Each hostile token differs from a good one in one thing."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay_contract import token_keys
from relay_contract.access_tokens import (
    LIFE_SECONDS,
    MAX_TOKEN_BYTES,
    SKEW_SECONDS,
    Claims,
    Reader,
    header,
    write,
)
from relay_contract.errors import TokenExpired, TokenInvalid
from relay_contract.nouns import KeyMode
from relay_contract.token_keys import PrivateKey, TokenKeyError

NOW = 1_800_000_000
ISSUER = "https://relay.example.com"
AUDIENCE = "https://edge.example.com"
KID = "k1"
CLAIMS = Claims(
    subject=17,
    client_id="app_0123456789abcdef",
    project_id=7,
    application_id=5,
    authorization_id=9,
    wallet_id=102,
    mode=KeyMode.LIVE,
    scopes=("inference", "offline_access"),
    cap_microcredits=5_000_000,
    issued_at=NOW,
    expires_at=NOW + LIFE_SECONDS,
    jti="x" * 22,
)
HEADER = {"alg": "RS256", "kid": KID, "typ": "at+jwt"}
SAID = {
    "iss": ISSUER, "aud": AUDIENCE, "sub": "17", "client_id": "app_0123456789abcdef",
    "scope": "inference offline_access", "iat": NOW, "exp": NOW + LIFE_SECONDS, "jti": "x" * 22, "prj": 7, "app": 5,
    "gid": 9, "wlt": 102, "mode": "live", "cap": 5_000_000,
}  # fmt: skip


@cache
def key() -> PrivateKey:
    return token_keys.make()


@cache
def stranger() -> PrivateKey:
    return token_keys.make()


@cache
def reader() -> Reader:
    return Reader({KID: key().public_key()}, ISSUER, AUDIENCE)


def encoded(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def packed(value: Any) -> bytes:
    """JSON as tokens have it; bytes as they are."""
    return encoded(value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode())


def signed(head: Any, payload: Any, by: PrivateKey | None = None) -> bytes:
    """A token of any header and payload, rightly signed."""
    text = packed(head) + b"." + packed(payload)
    return text + b"." + encoded((by or key()).sign(text, padding.PKCS1v15(), hashes.SHA256()))


def said(**changes: Any) -> dict[str, Any]:
    """The good claims with these changed; None takes one out."""
    return {name: value for name, value in {**SAID, **changes}.items() if value is not None}


def good() -> bytes:
    return signed(HEADER, SAID)


def written(claims: Claims = CLAIMS) -> str:
    return write(claims, issuer=ISSUER, audience=AUDIENCE, kid=KID, private_key=key())


def test_what_is_written_is_read() -> None:
    token = written().encode()
    assert reader().read(token, NOW) == CLAIMS
    assert token == good()
    uncapped = replace(CLAIMS, cap_microcredits=None, mode=KeyMode.TEST, wallet_id=103)
    assert reader().read(written(uncapped).encode(), NOW) == uncapped


def test_it_ends_on_its_second_and_a_clock_may_be_a_minute_behind() -> None:
    token = good()
    assert reader().read(token, NOW + LIFE_SECONDS - 0.001) == CLAIMS
    with pytest.raises(TokenExpired):
        reader().read(token, NOW + LIFE_SECONDS)
    assert reader().read(token, NOW - SKEW_SECONDS) == CLAIMS
    with pytest.raises(TokenInvalid):
        reader().read(token, NOW - SKEW_SECONDS - 1)


@pytest.mark.parametrize(
    "head",
    [
        HEADER | {"alg": "none"},
        HEADER | {"alg": "None"},
        HEADER | {"alg": "rs256"},
        HEADER | {"alg": "RS512"},
        HEADER | {"alg": "PS256"},
        HEADER | {"alg": "HS256"},
        HEADER | {"alg": ["RS256"]},
        HEADER | {"kid": "k2"},
        HEADER | {"kid": "../k1"},
        HEADER | {"kid": None},
        HEADER | {"typ": "JWT"},
        HEADER | {"typ": "AT+JWT"},
        HEADER | {"typ": "application/at+jwt"},
        HEADER | {"crit": ["exp"]},
        HEADER | {"jku": "https://evil.example.com/jwks"},
        HEADER | {"x5u": "https://evil.example.com/cert"},
        HEADER | {"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}},
        HEADER | {"b64": False},
        {"alg": "RS256", "kid": KID},
        {"alg": "RS256", "typ": "at+jwt"},
        {"typ": "at+jwt", "kid": KID, "alg": "RS256"},
        b'{"alg":"none","alg":"RS256","kid":"k1","typ":"at+jwt"}',
        b'{"alg":"RS256", "kid":"k1","typ":"at+jwt"}',
        b"[" * 380,
        b"{}",
        b"\xff",
    ],
    ids=repr,
)
def test_another_header_is_refused_however_it_is_signed(head: Any) -> None:
    with pytest.raises(TokenInvalid):
        reader().read(signed(head, SAID), NOW)


def test_the_public_key_is_no_secret_to_sign_with() -> None:
    """Key confusion: HMAC with what everybody may know, under a header that says RS256 and one that says HS256."""
    forms = [(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)]
    for head in (HEADER, HEADER | {"alg": "HS256"}):
        for encoding, form in forms:
            text = packed(head) + b"." + packed(SAID)
            mac = hmac.HMAC(key().public_key().public_bytes(encoding, form), hashes.SHA256())
            mac.update(text)
            with pytest.raises(TokenInvalid):
                reader().read(text + b"." + encoded(mac.finalize()), NOW)


def test_nobody_elses_signature_counts() -> None:
    head, payload, _ = good().split(b".")
    pss = key().sign(head + b"." + payload, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    sha1 = key().sign(head + b"." + payload, padding.PKCS1v15(), hashes.SHA512())
    for signature in (pss, sha1, b"\0" * 256, b"\1", b"\0" * 255 + b"\1"):
        with pytest.raises(TokenInvalid):
            reader().read(b".".join((head, payload, encoded(signature))), NOW)
    with pytest.raises(TokenInvalid):
        reader().read(signed(HEADER, SAID, by=stranger()), NOW)


def test_a_signature_is_for_its_own_claims() -> None:
    head, payload, signature = good().split(b".")
    other = packed(said(sub="18"))
    with pytest.raises(TokenInvalid):
        reader().read(b".".join((head, other, signature)), NOW)
    with pytest.raises(TokenInvalid):
        reader().read(b".".join((head, payload[:-1], signature)), NOW)


def respelled(token: bytes) -> bytes:
    """The same signature with other spare bits in its last character."""
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = letters.index(token[-1:])
    other = token[:-1] + letters[last ^ 1 : (last ^ 1) + 1]
    assert base64.urlsafe_b64decode(other.split(b".")[2] + b"==") == base64.urlsafe_b64decode(
        token.split(b".")[2] + b"=="
    )
    return other


@pytest.mark.parametrize(
    "changed",
    [
        respelled,
        lambda token: token + b"==",
        lambda token: token + b"\n",
        lambda token: b" " + token,
        lambda token: token + b".",
        lambda token: token + b"." + token.split(b".")[2],
        lambda token: token.rsplit(b".", 1)[0],
        lambda token: token.rsplit(b".", 1)[0] + b".",
        lambda token: token.replace(b".", b"..", 1),
        lambda token: token[: len(token) // 2] + b"\n" + token[len(token) // 2 :],
        lambda token: token.replace(b"_", b"/").replace(b"-", b"+") + b"+",
        lambda token: b"\xff" + token[1:],
        lambda token: token + b"A" * MAX_TOKEN_BYTES,
        lambda _: b"",
        lambda _: b"..",
        lambda _: b"A" * 5 + b".A.A",
        lambda _: b"." * MAX_TOKEN_BYTES,
    ],
)
def test_another_form_is_refused(changed: Callable[[bytes], bytes]) -> None:
    token = changed(good())
    assert token != good()
    with pytest.raises(TokenInvalid):
        reader().read(token, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in SAID if name != "cap"),
        {"iss": "https://evil.example.com"},
        {"iss": ISSUER + "/"},
        {"iss": [ISSUER]},
        {"aud": ISSUER},
        {"aud": []},
        {"aud": [[AUDIENCE]]},
        {"aud": {AUDIENCE: 1}},
        {"aud": AUDIENCE + "/evil"},
        {"aud": AUDIENCE[:-1]},
        {"sub": 17},
        {"sub": "0"},
        {"sub": "-1"},
        {"sub": "017"},
        {"sub": "17 "},
        {"sub": "\u0661\u0667"},
        {"sub": str(2**63)},
        {"sub": "9" * 400},
        {"client_id": ""},
        {"client_id": "a b"},
        {"client_id": 5},
        {"scope": ""},
        {"scope": ["inference"]},
        {"scope": "inference  account"},
        {"scope": "inference inference"},
        {"scope": 'a"b'},
        {"scope": " ".join(map(str, range(17)))},
        {"exp": NOW},
        {"exp": NOW + LIFE_SECONDS + 1},
        {"exp": float(NOW + 60)},
        {"exp": str(NOW + 60)},
        {"exp": True},
        {"exp": 2**63},
        {"exp": -1},
        {"iat": NOW + LIFE_SECONDS},
        {"iat": NOW - 1},
        {"iat": float(NOW)},
        {"jti": ""},
        {"jti": "x" * 65},
        {"jti": "x" * 20 + "\n"},
        {"prj": 0},
        {"prj": True},
        {"prj": "7"},
        {"prj": 7.0},
        {"app": -5},
        {"gid": 2**63},
        {"wlt": 1e3},
        {"mode": "LIVE"},
        {"mode": "control"},
        {"mode": 1},
        {"cap": -1},
        {"cap": True},
        {"cap": 2**63},
        {"cap": "5"},
    ],
    ids=repr,
)
def test_claims_are_read_strictly_though_we_signed_them(changes: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        reader().read(signed(HEADER, said(**changes)), NOW)


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(SAID).replace('"sub": "17"', '"sub": "17", "sub": "18"').encode(),
        json.dumps(SAID).replace('"cap": 5000000', '"cap": NaN').encode(),
        json.dumps(SAID).replace('"cap": 5000000', f'"cap": {"9" * 2_000}').encode(),
        json.dumps(SAID).replace('"cap": 5000000', f'"x": {"[" * 1_000}').encode(),
        json.dumps([SAID]).encode(),
        json.dumps(SAID).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(SAID).encode(),
        json.dumps(SAID).encode() + b"{}",
        b"\xff",
        b"null",
    ],
)
def test_a_payload_that_is_no_plain_object_is_refused(payload: bytes) -> None:
    with pytest.raises(TokenInvalid):
        reader().read(signed(HEADER, payload), NOW)


def test_a_newer_writer_may_say_more_and_name_several_audiences() -> None:
    assert reader().read(signed(HEADER, said(aud=["https://other.example.com", AUDIENCE], new={"a": 1})), NOW) == CLAIMS


def test_a_key_that_was_taken_away_signs_nothing() -> None:
    with pytest.raises(TokenInvalid):
        Reader({"k2": key().public_key()}, ISSUER, AUDIENCE).read(good(), NOW)
    with pytest.raises(TokenInvalid):
        Reader({}, ISSUER, AUDIENCE).read(good(), NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_at": NOW + LIFE_SECONDS + 1},
        {"scopes": ()},
        {"scopes": ("a b",)},
        {"jti": "short"},
        {"subject": 0},
        {"client_id": "é"},
        {"cap_microcredits": -1},
    ],
)
def test_what_nobody_would_read_is_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no reader"):
        written(replace(CLAIMS, **changes))


def test_a_token_nobody_would_read_for_its_length_is_not_written() -> None:
    with pytest.raises(ValueError, match="4096"):
        write(CLAIMS, issuer="https://" + "a" * 3_000, audience=AUDIENCE, kid=KID, private_key=key())


@pytest.mark.parametrize("kid", ["", "a b", 'a"', "a" * 65, "\n", "é"])
def test_a_kid_stands_in_a_header_as_it_is(kid: str) -> None:
    with pytest.raises(ValueError, match="kid"):
        header(kid)


def test_keys_are_stored_and_read_again() -> None:
    private = token_keys.read_private(token_keys.private_der(key()))
    assert private.private_numbers() == key().private_numbers()
    public = token_keys.read_public(token_keys.public_der(key()))
    assert Reader({KID: public}, ISSUER, AUDIENCE).read(good(), NOW) == CLAIMS
    assert public.key_size == token_keys.KEY_BITS


def test_a_published_key_is_the_one_that_signs() -> None:
    published = token_keys.jwk(KID, key().public_key())
    n, e = (
        int.from_bytes(base64.urlsafe_b64decode(published[name] + "=" * (-len(published[name]) % 4)), "big")
        for name in ("n", "e")
    )
    assert rsa.RSAPublicNumbers(e, n) == key().public_key().public_numbers()
    assert {name: published[name] for name in ("kty", "use", "alg", "kid")} == {
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KID,
    }  # fmt: skip
    assert "=" not in published["n"] + published["e"]


def test_other_keys_are_not_read() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    weak = rsa.generate_private_key(65_537, 1_024)
    for wrong in (other, weak):
        with pytest.raises(TokenKeyError):
            token_keys.read_public(wrong.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        with pytest.raises(TokenKeyError):
            token_keys.read_private(token_keys.private_der(wrong))  # type: ignore[arg-type]  # it only serialises
    for hostile in (b"", b"\x30", token_keys.public_der(key())[:-1]):
        with pytest.raises(TokenKeyError):
            token_keys.read_public(hostile)
        with pytest.raises(TokenKeyError):
            token_keys.read_private(hostile)
