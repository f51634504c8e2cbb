"""Through how many relays a call came."""

import pytest

from relay_contract.errors import BadHeader, RelayLoop
from relay_edge.relay_hops import MAX_HOPS, read_hops


@pytest.mark.parametrize(("values", "hops"), [((), 0), (("0",), 0), (("1",), 1), (("003",), 3)])
def test_hops(values: tuple[str, ...], hops: int) -> None:
    assert read_hops(values) == hops


@pytest.mark.parametrize("value", [str(MAX_HOPS + 1), "999"])
def test_a_loop_ends(value: str) -> None:
    with pytest.raises(RelayLoop):
        read_hops((value,))


@pytest.mark.parametrize("values", [("",), ("-1",), ("1.0",), ("1000",), ("\u0663",), ("1, 1",), ("1", "1")])
def test_what_no_relay_writes(values: tuple[str, ...]) -> None:
    with pytest.raises(BadHeader):
        read_hops(values)
