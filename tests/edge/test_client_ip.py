"""Whose address a call came from: nobody is believed but our own proxies."""

from ipaddress import ip_network

import pytest

from relay_edge.client_ip import MOST_PROXIES, UNKNOWN, ClientIps

PROXIES = ClientIps((ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")))
PROXY = "10.0.0.1"
CALLER = "203.0.113.7"


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (CALLER, CALLER),
        ("2001:db8::7", "2001:db8::7"),
        (f"::ffff:{CALLER}", CALLER),
        ("fe80::1%eth0", "fe80::1"),
        (None, UNKNOWN),
        ("", UNKNOWN),
        ("nonsense%eth0", UNKNOWN),
    ],
)
def test_the_peer_itself(peer: str | None, expected: str) -> None:
    assert ClientIps().of(peer, ()) == expected
    assert PROXIES.of(peer, ()) == expected


@pytest.mark.parametrize("peer", [CALLER, f"::ffff:{CALLER}"])
def test_nobody_else_is_believed(peer: str) -> None:
    assert PROXIES.of(peer, ["198.51.100.9"]) == CALLER
    assert ClientIps().of(peer, [PROXY]) == CALLER


@pytest.mark.parametrize(
    ("forwarded_for", "expected"),
    [
        ([CALLER], CALLER),
        ([f" {CALLER}\t"], CALLER),
        ([f"198.51.100.9, {CALLER}"], CALLER),  # the caller wrote the first one itself
        ([f"198.51.100.9, {CALLER}, 10.2.3.4"], CALLER),
        (["198.51.100.9", f"{CALLER}, 10.2.3.4", "10.9.9.9"], CALLER),  # repeated lines are one list
        ([f"198.51.100.9, {CALLER}, 2001:db8:1::5"], CALLER),
        ([f"{CALLER}:51234"], CALLER),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["[2001:db8::7]:443"], "2001:db8::7"),
        (["2001:DB8:0::7"], "2001:db8::7"),
        ([f"::ffff:{CALLER}"], CALLER),
        (["198.51.100.9, ::ffff:10.2.3.4"], "198.51.100.9"),
        (["10.2.3.4, 10.2.3.5"], "10.2.3.4"),  # all of them ours: the one that began it
        ([""], PROXY),
        ([f"{CALLER}, "], PROXY),
        ([f"{CALLER}, unknown"], PROXY),
        ([f"{CALLER}, unknown, 10.2.3.4"], "10.2.3.4"),
        ([f"{CALLER}, _hidden"], PROXY),
        ([f"{CALLER}, 10.2.3.4.5"], PROXY),
        ([f"{CALLER}, 0x0a020304"], PROXY),
        ([f"{CALLER}, 167903236"], PROXY),
        ([f"{CALLER}, 10.2.3.4:"], PROXY),
        ([f"{CALLER}, 10.2.3.4:123456"], PROXY),
        ([f"{CALLER}, 10.2.3.4:8x"], PROXY),
        ([f"{CALLER}, [2001:db8::7"], PROXY),
        ([f"{CALLER}, [2001:db8::7]x"], PROXY),
        ([f"{CALLER}, [2001:db8::7]:"], PROXY),
        ([f"{CALLER}, fe80::1%eth0"], PROXY),
        ([f"{CALLER}, \u0661\u0660.2.3.4"], PROXY),
        (["x" * 8_000], PROXY),
    ],
)
@pytest.mark.parametrize("peer", [PROXY, f"::ffff:{PROXY}"])
def test_behind_our_proxies(peer: str, forwarded_for: list[str], expected: str) -> None:
    assert PROXIES.of(peer, forwarded_for) == expected


def test_a_list_that_is_too_long_is_not_read_to_its_end() -> None:
    ours = ", ".join(f"10.1.0.{number}" for number in range(MOST_PROXIES))
    assert PROXIES.of(PROXY, [f"{CALLER}, {ours}"]) == "10.1.0.0"
    assert PROXIES.of(PROXY, [f"{CALLER}, {ours.partition(', ')[2]}"]) == CALLER
