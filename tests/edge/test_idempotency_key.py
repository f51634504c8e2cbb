"""`Idempotency-Key`, and the rule that each refusal names."""

import pytest

from relay_contract.errors import BadHeader
from relay_edge.idempotency_key import read_idempotency_key


@pytest.mark.parametrize("key", ["a", "7f3e-1", '"quoted"', "!~", "k" * 255])
def test_reads(key: str) -> None:
    assert read_idempotency_key([key]) == key


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (["a", "a"], "send it once"),
        *(
            ([key], "it is 1 to 255 visible ASCII characters, without spaces")
            for key in ("", "k" * 256, "a b", " ", "\ta", "ü", "a\x7f", "\udcff")
        ),
    ],
)
def test_refuses(values: list[str], rule: str) -> None:
    with pytest.raises(BadHeader) as refused:
        read_idempotency_key(values)
    assert refused.value.public_text == f"The header idempotency-key cannot be read: {rule}."
