"""Sealing: there and back, bound to its row, and a clear answer to each way it can fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.sealing import Sealer, SealFault, SealingError

OLD, NEW = b"o" * 32, b"n" * 32
SEALER = Sealer(OLD)


def fault_of(sealer: Sealer, sealed: bytes, binding: str) -> SealFault:
    with pytest.raises(SealingError) as caught:
        sealer.unseal(sealed, binding)
    return caught.value.fault


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"), max_size=40))
def test_unseal_undoes_seal(plaintext: str, binding: str) -> None:
    sealed = SEALER.seal(plaintext, binding)
    assert SEALER.unseal(sealed, binding) == plaintext
    assert len(sealed) == 1 + 4 + 4 + 12 + len(plaintext.encode()) + 16


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_ciphertext_opens_in_its_own_row_only(binding: str, other: str) -> None:
    sealed = SEALER.seal("sk-secret", binding)
    if binding == other:
        assert SEALER.unseal(sealed, other) == "sk-secret"
    else:
        assert fault_of(SEALER, sealed, other) is SealFault.WRONG_ROW


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(position: int, mask: int) -> None:
    sealed = bytearray(SEALER.seal("sk-secret", "host_key:42"))
    position %= len(sealed)
    sealed[position] ^= mask
    expected = (
        SealFault.NOT_SEALED
        if position < 1
        else SealFault.UNKNOWN_MASTER_KEY
        if position < 5
        else SealFault.WRONG_ROW
        if position < 9
        else SealFault.TAMPERED
    )
    assert fault_of(SEALER, bytes(sealed), "host_key:42") is expected


def test_a_forged_row_id_does_not_open_another_row() -> None:
    """The row id serves the error text only: who copies it along is stopped by the authenticated binding."""
    sealed = SEALER.seal("sk-secret", "host_key:42")
    forged = sealed[:5] + SEALER.seal("x", "host_key:43")[5:9] + sealed[9:]
    assert fault_of(SEALER, forged, "host_key:43") is SealFault.TAMPERED


def test_the_text_says_what_to_do_and_holds_no_secret() -> None:
    sealed = SEALER.seal("sk-secret", "host_key:42")
    with pytest.raises(
        SealingError, match=r"^sealed with a master key that is not configured: add that key as a previous"
    ):
        Sealer(NEW).unseal(sealed, "host_key:42")
    with pytest.raises(SealingError, match=r"^sealed for another row than 'host_key:43'"):
        SEALER.unseal(sealed, "host_key:43")
    with pytest.raises(SealingError, match=r"^the sealed value of 'host_key:42' was changed after it was sealed"):
        SEALER.unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), "host_key:42")
    with pytest.raises(SealingError, match=r"^not a sealed value, or one of a newer version"):
        SEALER.unseal(b"sk-secret", "host_key:42")


@pytest.mark.parametrize("length", range(37))
def test_anything_shorter_than_an_empty_secret_is_not_sealed(length: int) -> None:
    sealed = SEALER.seal("", "host_key:42")
    assert len(sealed) == 37
    assert fault_of(SEALER, sealed[:length], "host_key:42") is SealFault.NOT_SEALED


def test_equal_secrets_do_not_look_equal() -> None:
    sealed = {SEALER.seal("sk-secret", "host_key:42") for _ in range(100)}
    assert len(sealed) == 100
    assert len({one[9:21] for one in sealed}) == 100
    assert not any(b"secret" in one for one in sealed)


def test_rotation() -> None:
    old = SEALER.seal("sk-secret", "host_key:42")
    both = Sealer(NEW, OLD)
    assert both.unseal(old, "host_key:42") == "sk-secret"
    assert both.needs_resealing(old)
    new = both.seal(both.unseal(old, "host_key:42"), "host_key:42")
    assert not both.needs_resealing(new)
    assert Sealer(NEW).unseal(new, "host_key:42") == "sk-secret"
    assert fault_of(SEALER, new, "host_key:42") is SealFault.UNKNOWN_MASTER_KEY


def test_database_drivers_may_hand_over_views() -> None:
    sealed = SEALER.seal("sk-secret", "host_key:42")
    assert SEALER.unseal(memoryview(sealed), "host_key:42") == "sk-secret"
    assert SEALER.unseal(bytearray(sealed), "host_key:42") == "sk-secret"
    assert not SEALER.needs_resealing(memoryview(sealed))


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 33])
def test_a_master_key_has_32_bytes(key: bytes) -> None:
    with pytest.raises(ValueError, match=f"exactly 32 bytes, not {len(key)}"):
        Sealer(key)


def test_the_same_key_twice_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="one key was given twice"):
        Sealer(OLD, NEW, OLD)


def test_an_unencodable_secret_is_not_carried_by_the_error() -> None:
    with pytest.raises(ValueError, match="cannot be encoded") as caught:
        SEALER.seal("sk-canary\ud800", "host_key:42")
    assert not isinstance(caught.value, UnicodeEncodeError)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# --- what is sealed at every call ---


@given(st.binary(max_size=300), st.text(st.characters(codec="utf-8"), max_size=40))
def test_bytes_are_sealed_there_and_back(plaintext: bytes, binding: str) -> None:
    sealed = SEALER.seal_bytes(plaintext, binding)
    assert Sealer(NEW, OLD).unseal_bytes(sealed, binding) == plaintext
    assert len(sealed) == 1 + 4 + 16 + 12 + len(plaintext) + 16


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_of_sealed_bytes_goes_unnoticed(position: int, mask: int) -> None:
    sealed = bytearray(SEALER.seal_bytes(b"an answer", "idempotent:1"))
    position %= len(sealed)
    sealed[position] ^= mask
    expected = (
        SealFault.NOT_SEALED if position < 1 else SealFault.UNKNOWN_MASTER_KEY if position < 5 else SealFault.TAMPERED
    )
    with pytest.raises(SealingError) as caught:
        SEALER.unseal_bytes(bytes(sealed), "idempotent:1")
    assert caught.value.fault is expected


def test_the_two_ways_of_sealing_do_not_open_each_other() -> None:
    for sealed in (SEALER.seal("x" * 99, "a"), b"", b"\x02"):
        with pytest.raises(SealingError) as caught:
            SEALER.unseal_bytes(sealed, "a")
        assert caught.value.fault is SealFault.NOT_SEALED
    assert fault_of(SEALER, SEALER.seal_bytes(b"x" * 99, "a"), "a") is SealFault.NOT_SEALED
    with pytest.raises(SealingError) as caught:
        SEALER.unseal_bytes(SEALER.seal_bytes(b"x", "a"), "b")
    assert caught.value.fault is SealFault.TAMPERED
