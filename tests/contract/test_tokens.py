"""Relay keys and admin tokens: shape, checksum, what is stored, what is shown."""

import hashlib
import string
import zlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from relay_contract import tokens
from relay_contract.nouns import KeyMode
from relay_contract.tokens import ParsedKey

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
KNOWN = "rk_live_0123456789ABabcdefghijklmnopqrstuvwxyz0123451sQlbh"


@pytest.mark.parametrize("mode", list(KeyMode))
def test_a_minted_key_reads_back(mode: KeyMode) -> None:
    minted = tokens.mint(mode)
    assert tokens.parse(minted.token) == ParsedKey(mode, minted.key_id)
    assert minted.token.startswith(f"rk_{mode.value}_{minted.key_id}")
    assert len(minted.token) == len("rk_live_") + 12 + 32 + 6
    assert minted.hash == hashlib.sha256(minted.token.encode()).digest()
    assert tokens.display(minted.token) == f"rk_{mode.value}_{minted.key_id}…"
    assert tokens.parse_admin(minted.token) is None


def test_a_minted_admin_token_reads_back() -> None:
    minted = tokens.mint_admin()
    assert tokens.parse_admin(minted.token) == minted.key_id
    assert len(minted.token) == len("ra_") + 12 + 32 + 6
    assert minted.hash == tokens.hash_token(minted.token.encode())
    assert tokens.display(minted.token) == f"ra_{minted.key_id}…"
    assert tokens.parse(minted.token) is None


def test_the_format_stays_as_it_was_published() -> None:
    """Keys in customers' hands must parse for ever, so one is written down."""
    number = int.from_bytes(zlib.crc32(KNOWN[:-6].encode()).to_bytes(4, "big"), "big")
    digits = [BASE62[number // 62**place % 62] for place in range(5, -1, -1)]
    assert KNOWN[-6:] == "".join(digits)
    assert tokens.parse(KNOWN) == ParsedKey(KeyMode.LIVE, "0123456789AB")


def test_repr_does_not_show_the_token() -> None:
    minted = tokens.mint(KeyMode.LIVE)
    assert minted.token not in repr(minted)
    assert minted.token[20:52] not in repr(minted)


def test_no_two_tokens_are_alike() -> None:
    minted = [tokens.mint(KeyMode.TEST) for _ in range(500)]
    assert len({one.key_id for one in minted}) == 500
    assert set(BASE62) == {character for one in minted for character in one.token[8:52]}


@given(st.integers(0, len(KNOWN) - 1), st.sampled_from(BASE62 + "_-. \n\0é\uff11"))
def test_every_single_typo_is_told_from_a_key(position: int, typed: str) -> None:
    assume(KNOWN[position] != typed)
    assert tokens.parse(KNOWN[:position] + typed + KNOWN[position + 1 :]) is None


@given(st.integers(8, len(KNOWN) - 2))
def test_swapped_neighbours_are_told_from_a_key(position: int) -> None:
    assume(KNOWN[position] != KNOWN[position + 1])
    swapped = KNOWN[:position] + KNOWN[position + 1] + KNOWN[position] + KNOWN[position + 2 :]
    assert tokens.parse(swapped) is None


@pytest.mark.parametrize(
    "text",
    ["", "rk_live_", KNOWN[:-1], KNOWN + "0", KNOWN + "\n", " " + KNOWN, KNOWN.upper(), KNOWN.replace("live", "prod")],
)
def test_what_was_never_minted(text: str) -> None:
    assert tokens.parse(text) is None
    assert tokens.parse_admin(text) is None
    with pytest.raises(ValueError, match="not a relay key or admin token"):
        tokens.display(text)


@given(st.text(st.characters(), max_size=80))
def test_hostile_text_is_hashed_and_refused_without_an_error(text: str) -> None:
    assert len(tokens.hash_token(text)) == 32
    assert tokens.parse(text) is None
    assert tokens.parse_admin(text) is None


def test_undecodable_header_bytes_are_hashed() -> None:
    text = b"rk_live_\xff\xfe".decode("utf-8", "surrogateescape")
    assert tokens.hash_token(text) != tokens.hash_token("rk_live_")
