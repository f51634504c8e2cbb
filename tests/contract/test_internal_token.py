"""The token by which the control plane speaks for a relay key."""

import pytest

from relay_contract.internal_token import PREFIX, VALID_SECONDS, InternalTokenError, InternalTokens

TOKENS = InternalTokens(b"\x01" * 32)
NOW = 1_800_000_000.7


def test_a_token_names_its_key_for_half_a_minute() -> None:
    token = TOKENS.mint(42, NOW)
    assert token.startswith(f"{PREFIX}42_1800000030_")
    assert TOKENS.read(token, NOW) == 42
    assert TOKENS.read(token, NOW + VALID_SECONDS - 1) == 42
    assert TOKENS.read(token, NOW - VALID_SECONDS) == 42  # a clock that is behind
    for moment in (NOW + VALID_SECONDS, NOW - 2 * VALID_SECONDS):
        with pytest.raises(InternalTokenError, match="ended"):
            TOKENS.read(token, moment)


def test_another_master_key_does_not_read_it() -> None:
    with pytest.raises(InternalTokenError, match="RELAY_MASTER_KEY"):
        InternalTokens(b"\x02" * 32).read(TOKENS.mint(42, NOW), NOW)


@pytest.mark.parametrize(("old", "new"), [("ri_42_", "ri_43_"), ("_1800000030_", "_1800000031_")])
def test_nothing_of_it_can_be_changed(old: str, new: str) -> None:
    token = TOKENS.mint(42, NOW)
    changed = token.replace(old, new)
    assert changed != token
    with pytest.raises(InternalTokenError, match="RELAY_MASTER_KEY"):
        TOKENS.read(changed, NOW)


@pytest.mark.parametrize(
    "token", ["", "ri_", "ri_1_2_3", "ri_01_1800000030_" + "0" * 64, "ri_1_18\u0660_" + "0" * 64, "\udcff" * 80]
)
def test_other_text_is_refused(token: str) -> None:
    with pytest.raises(InternalTokenError, match="form"):
        TOKENS.read(token, NOW)


def test_a_line_break_behind_it_is_refused() -> None:
    with pytest.raises(InternalTokenError, match="form"):
        TOKENS.read(TOKENS.mint(1, NOW) + "\n", NOW)
