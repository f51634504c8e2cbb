"""The SSRF guard: a corpus of spellings, and real connections through aiohttp that must not happen."""

import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from relay_contract.netguard import (
    AddressRefused,
    HeaderRefused,
    Network,
    UrlRefused,
    check_header,
    check_url,
    guarded_socket_factory,
    refusal,
)
from tests.ssrf_corpus import ADDRESSES, DIALLED, URLS, embedded

PRIVATE_V4 = [
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",  # Alibaba metadata
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # Azure wire server
    "169.254.169.254",  # metadata of most clouds
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # Oracle metadata
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]
PUBLIC_V4 = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "126.255.255.255", "172.15.255.255", "172.32.0.0"]
PUBLIC_V4 += ["168.63.129.15", "192.0.1.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"]
PRIVATE_V6 = [
    "::",
    "::1",
    "::2",
    "100::1",
    "100:0:0:1::1",
    "1000::1",  # never handed out
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "64:ff9b:2::1",
    "fc00::1",
    "fd00:ec2::254",  # AWS metadata
    "fd20:ce::254",  # Google metadata
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",  # multicast of global scope
]
PUBLIC_V6 = ["2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "2003::1", "2620:4f:8000::1", "3ffe::1"]


@pytest.mark.parametrize("text", PRIVATE_V4 + PRIVATE_V6)
def test_refused(text: str) -> None:
    assert refusal(text, ()) is not None
    assert refusal(ip_address(text), ()) == refusal(text, ())


@pytest.mark.parametrize("text", PUBLIC_V4 + PUBLIC_V6)
def test_admitted(text: str) -> None:
    assert refusal(text, ()) is None


@pytest.mark.parametrize("text", ADDRESSES)
def test_no_address_of_the_corpus_is_connected_to(text: str) -> None:
    assert refusal(text, ()) is not None
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    with pytest.raises(AddressRefused):
        guarded_socket_factory(())((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (text, 80)))


@pytest.mark.parametrize("url", URLS)
def test_no_url_of_the_corpus_is_saved(url: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        check_url(url)
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", list(embedded("127.0.0.1")))
@pytest.mark.parametrize("v4", PRIVATE_V4)
def test_no_spelling_carries_a_private_address(kind: str, v4: str) -> None:
    assert refusal(embedded(v4)[kind], ()) is not None


@pytest.mark.parametrize("kind", ["mapped", "nat64", "isatap", "isatap with a global bit"])
@pytest.mark.parametrize("v4", PUBLIC_V4)
def test_spellings_that_hosts_really_use_carry_public_addresses(kind: str, v4: str) -> None:
    """On an IPv6-only machine DNS64 answers with NAT64 addresses for every IPv4-only target."""
    assert refusal(embedded(v4)[kind], ()) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("127.0.0.1", "loopback (127.0.0.0/8)"),
        ("::ffff:10.1.2.3", "a private network (10.0.0.0/8), since it stands for 10.1.2.3"),
        ("64:ff9b::7f00:1", "loopback (127.0.0.0/8), since it stands for 127.0.0.1"),
        ("169.254.169.254", "link-local, where clouds serve credentials (169.254.0.0/16)"),
        ("::1", "loopback (::1/128)"),
        ("4000::1", "outside the public IPv6 space (2000::/3)"),
        ("fe80::1%eth0", "link-local (fe80::/10)"),
    ],
)
def test_the_reason_says_which_rule(text: str, reason: str) -> None:
    assert refusal(text, ()) == reason


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "2130706433", "0177.0.0.1", "0x7f.0.0.1", "8.8.8.8 ", "8.8.8.8/32"]
)
def test_text_that_is_no_address_is_refused(text: str) -> None:
    assert refusal(text, ()) == "not an IP address"


@given(st.ip_addresses())
def test_nothing_outside_global_unicast_passes(address: IPv4Address | IPv6Address) -> None:
    if refusal(address, ()) is None:
        face = getattr(address, "ipv4_mapped", None) or address
        assert face.is_global
        assert not face.is_multicast
        assert not face.is_private


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_like_its_ipv4_address(v4: IPv4Address) -> None:
    assert (refusal(embedded(str(v4))["mapped"], ()) is None) == (refusal(v4, ()) is None)


@given(st.ip_addresses())
def test_allowing_a_network_admits_what_is_in_it(address: IPv4Address | IPv6Address) -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert refusal(address, everything) is None
    if getattr(address, "ipv4_mapped", None) is None and refusal(address, ()) is not None:
        other = ip_network("192.0.2.7/32" if str(address) != "192.0.2.7" else "192.0.2.8/32")
        assert refusal(address, (other,)) is not None


@pytest.mark.parametrize("kind", ["mapped", "nat64"])
def test_an_allowed_ipv4_network_counts_in_every_spelling_that_is_in_use(kind: str) -> None:
    allowed = (ip_network("10.0.0.0/8"),)
    assert refusal(embedded("10.0.0.1")[kind], allowed) is None
    assert refusal(embedded("127.0.0.1")[kind], allowed) is not None


@pytest.mark.parametrize("kind", ["nat64", "nat64 local", "6to4", "teredo", "isatap"])
def test_an_allowed_translation_prefix_does_not_open_what_lies_behind_it(kind: str) -> None:
    allowed = (ip_network("::/0"),)
    assert refusal(embedded("127.0.0.1")[kind], allowed) is not None
    assert refusal(embedded("8.8.8.8")[kind], allowed) is None


def address_info(host: str, family: int = socket.AF_INET) -> tuple[int, int, int, str, tuple[str, int]]:
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 80))


def test_the_factory_makes_a_non_blocking_socket() -> None:
    with guarded_socket_factory(())(address_info("8.8.8.8")) as made:
        assert made.gettimeout() == 0.0
        assert made.family == socket.AF_INET
        assert made.type == socket.SOCK_STREAM


def test_the_factory_refuses_with_a_real_errno() -> None:
    with pytest.raises(AddressRefused) as caught:
        guarded_socket_factory(())(address_info("169.254.169.254"))
    assert caught.value.errno == errno.EACCES
    assert isinstance(caught.value, OSError)
    assert caught.value.strerror == (
        "target_address_refused: 169.254.169.254 is link-local, where clouds serve credentials (169.254.0.0/16)"
    )


def test_the_factory_refuses_other_families() -> None:
    with pytest.raises(AddressRefused, match="not IPv4 or IPv6"):
        guarded_socket_factory((ip_network("0.0.0.0/0"),))((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("/run/x",)))


class Rebinding(AbstractResolver):
    """DNS under an attacker's control: every name is this address."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        return None


class Victim:
    """An internal service: counts connections, whatever they say."""

    def __init__(self) -> None:
        self.requests = 0
        self.port = 0
        self.has_ipv6 = True

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.requests += 1
        return web.Response(text="internal")


@pytest.fixture
async def victim() -> AsyncIterator[Victim]:
    service = Victim()
    try:
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):  # a machine without IPv6, or without sockets for both
        service.has_ipv6 = False
        listener = socket.create_server(("127.0.0.1", 0))
    service.port = listener.getsockname()[1]
    runner = web.ServerRunner(web.Server(service.answer))
    await runner.setup()
    await web.SockSite(runner, listener).start()
    yield service
    await runner.cleanup()


async def get(url: str, allowed: tuple[Network, ...], resolver: AbstractResolver | None = None) -> str:
    connector = aiohttp.TCPConnector(socket_factory=guarded_socket_factory(allowed), resolver=resolver)
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url, allow_redirects=False) as answer:
        return await answer.text()


LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
ON_THE_WIRE = ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]"]


@pytest.mark.parametrize("host", ON_THE_WIRE)
async def test_a_literal_never_reaches_loopback(victim: Victim, host: str) -> None:
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await get(f"http://{host}:{victim.port}/", ())
    assert isinstance(caught.value.os_error, AddressRefused)
    assert caught.value.errno == errno.EACCES
    assert victim.requests == 0


@pytest.mark.parametrize("host", ON_THE_WIRE)
async def test_the_same_literals_do_reach_it_where_allowed(victim: Victim, host: str) -> None:
    """Shows that each spelling above is a real way in, so that the test before this one can fail."""
    if host.startswith("[") and not victim.has_ipv6:
        pytest.skip("this machine has no IPv6")
    allowed = (*LOOPBACK, ip_network("0.0.0.0/32"), ip_network("::/128"))
    assert await get(f"http://{host}:{victim.port}/", allowed) == "internal"
    assert victim.requests == 1


@pytest.mark.parametrize("url", DIALLED)
async def test_a_spelling_that_was_saved_nevertheless_reaches_nothing(victim: Victim, url: str) -> None:
    """The last door alone: some of these a client refuses to read (ValueError), the others the socket's guard stops."""
    with pytest.raises((aiohttp.ClientError, ValueError)):
        await get(url.replace("{port}", str(victim.port)), ())
    assert victim.requests == 0


async def test_many_of_those_spellings_do_reach_it_without_a_guard(victim: Victim) -> None:
    """So that the test before this one can fail."""
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    for url in DIALLED:
        with contextlib.suppress(aiohttp.ClientError, ValueError):
            await get(url.replace("{port}", str(victim.port)), everything)
    assert victim.requests >= 20


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"])
async def test_a_name_that_resolves_to_loopback_is_refused(victim: Victim, address: str) -> None:
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await get(f"http://public.example:{victim.port}/", (), Rebinding(address))
    assert isinstance(caught.value.os_error, AddressRefused)
    assert victim.requests == 0


async def test_several_refused_addresses_keep_the_errno(victim: Victim) -> None:
    """aiohttp merges them into a plain OSError, so callers match on errno."""
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await get(f"http://public.example:{victim.port}/", (), Rebinding("127.0.0.1", "::1"))
    assert caught.value.errno == errno.EACCES
    assert victim.requests == 0


async def test_a_refused_address_does_not_stop_an_allowed_one(victim: Victim) -> None:
    allowed = (ip_network("127.0.0.1/32"),)
    url = f"http://public.example:{victim.port}/"
    assert await get(url, allowed, Rebinding("10.0.0.1", "127.0.0.1")) == "internal"


async def test_a_name_that_resolves_to_an_allowed_address_is_reached(victim: Victim) -> None:
    assert await get(f"http://public.example:{victim.port}/", LOOPBACK, Rebinding("127.0.0.1")) == "internal"
    assert victim.requests == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://example.com/",
        "HTTPS://EXAMPLE.com:8443/a/b;c=1?x=%20&y=[1]",
        "https://a.b-c.example/?q",
        "https://example.com?q=1",
        "https://xn--bcher-kva.example/",
        "https://xn--e1afmkfd.xn--p1ai/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:443/",
        "https://[::ffff:8.8.8.8]/",
        "http://sink:9000/hook",
        "https://0x.example/",
        "https://123.example/",
        "https://localhost.example/",
    ],
)
def test_urls_that_targets_may_have(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "must start with http:// or https://"),
        ("example.com", "must start with http:// or https://"),
        ("//example.com/", "must start with http:// or https://"),
        ("http:/example.com/", "must start with http:// or https://"),
        ("http:example.com/", "must start with http:// or https://"),
        ("ftp://example.com/", "must start with http:// or https://"),
        ("file:///etc/passwd", "must start with http:// or https://"),
        ("gopher://example.com/", "must start with http:// or https://"),
        ("javascript://example.com/", "must start with http:// or https://"),
        ("https://user@example.com/", "user name or password"),
        ("https://user:pass@example.com/", "user name or password"),
        ("https://example.com@127.0.0.1/", "user name or password"),
        ("https://@example.com/", "user name or password"),
        ("https://example.com/#a", "fragment"),
        ("https://example.com#@127.0.0.1/", "fragment"),
        ("https://example.com/?a#b", "fragment"),
        (r"https://example.com\@127.0.0.1/", r"holds '\\\\' at position 20"),
        ("https://example.com/a b", "holds ' ' at position 22"),
        (" https://example.com/", "holds ' ' at position 1"),
        ("https://example.com/\n", r"holds '\\n' at position 21"),
        ("ht\ttps://example.com/", r"holds '\\t' at position 3"),
        ("https://exam\0ple.com/", r"holds '\\x00'"),
        ("https://example.com/\r\nHost: x", r"holds '\\r'"),
        ("https://exa\u00admple.com/", r"holds '\\xad'.*xn-- form"),
        ("https://bücher.example/", r"holds '\\xfc'"),
        ("https://\uff11\uff12\uff17.0.0.1/", r"holds '\\uff11'"),
        ("https://127\u30020\u30020\u30021/", r"holds '\\u3002'"),
        ("https://ⓛocalhost/", r"holds '\\u24db'"),
        ("https://example.com/%zz", "holds '%' at position 21"),
        ("https://example.com/<x>", "holds '<'"),
        ("https://" + "a" * 2050, "longer than 2048 characters"),
        ("https://", "An empty host is not a host name"),
        ("https:///path", "An empty host is not a host name"),
        ("https://:443/", "An empty host is not a host name"),
        ("https://?x", "An empty host is not a host name"),
        ("https://.example.com/", "is not a host name"),
        ("https://example..com/", "is not a host name"),
        ("https://example.com./", "is not a host name"),
        ("https://-a.example/", "is not a host name"),
        ("https://a-.example/", "is not a host name"),
        ("https://a_b.example/", "is not a host name"),
        ("https://*.example/", "is not a host name"),
        ("https://exa%6dple.com/", "is not a host name"),
        ("https://127.0.0.1%00.example/", "is not a host name"),
        ("https://" + "a" * 64 + ".example/", "is not a host name"),
        ("https://" + "a." * 127 + "ab/", "is not a host name"),
        ("https://xn--.example/", "is not a host name"),  # ends in a dash
        ("https://xn--a.example/", "not a valid international host name"),
        ("https://xn--abc-.example/", "is not a host name"),
        ("https://xn--localhost-.example/", "is not a host name"),
        ("https://xn--99999999.example/", "not a valid international host name"),
        ("https://ab--cd.example/", "not a valid international host name"),
        ("https://xn--1-yf5e.example/", "not a valid international host name"),
        ("https://xn--8g7ccp.example/", "not a valid international host name"),  # full-width 127
        ("https://xn--ocalhost-lb6d/", "not a valid international host name"),  # localhost with a Roman numeral
        ("https://xn--bcher-2pa.example/", "not a valid international host name"),  # upper case inside
        ("https://2130706433/", "write an IPv4 address as four decimal numbers"),
        ("https://0/", "write an IPv4 address as four decimal numbers"),
        ("https://127.1/", "write an IPv4 address as four decimal numbers"),
        ("https://0177.0.0.1/", "write an IPv4 address as four decimal numbers"),
        ("https://127.0.0.01/", "write an IPv4 address as four decimal numbers"),
        ("https://0x7f000001/", "write an IPv4 address as four decimal numbers"),
        ("https://0x7f.0.0.0x1/", "write an IPv4 address as four decimal numbers"),
        ("https://0X7F.0.0.1/", "write an IPv4 address as four decimal numbers"),
        ("https://127.0.0.1.5/", "write an IPv4 address as four decimal numbers"),
        ("https://256.0.0.1/", "write an IPv4 address as four decimal numbers"),
        ("https://example.123/", "write an IPv4 address as four decimal numbers"),
        ("https://example.0x/", "write an IPv4 address as four decimal numbers"),
        ("https://127.0.0.1/", r"127\.0\.0\.1 may not be called: it is loopback \(127\.0\.0\.0/8\)\."),
        ("https://10.0.0.1:8443/x", "may not be called: it is a private network"),
        ("https://0.0.0.0/", "may not be called: it is this host"),
        ("https://169.254.169.254/latest/meta-data/", "may not be called: it is link-local"),
        ("https://[::1]/", "may not be called: it is loopback"),
        ("https://[::]/", "may not be called: it is this host"),
        ("https://[::ffff:127.0.0.1]/", "stands for 127.0.0.1"),
        ("https://[0:0:0:0:0:ffff:7f00:1]/", "stands for 127.0.0.1"),
        ("https://[64:ff9b::7f00:1]/", "stands for 127.0.0.1"),
        ("https://[fe80::1%25eth0]/", "names a network interface"),
        ("https://[2606:4700::1%25x]/", "names a network interface"),
        ("https://[]/", "is not an IPv6 address"),
        ("https://[127.0.0.1]/", "is not an IPv6 address"),
        ("https://[example.com]/", "is not an IPv6 address"),
        ("https://[v1.x]/", "is not an IPv6 address"),
        ("https://[::1/", "host and port of the URL cannot be read"),
        ("https://::1/", "host and port of the URL cannot be read"),
        ("https://[::1]x/", "host and port of the URL cannot be read"),
        ("https://x[::1]/", "host and port of the URL cannot be read"),
        ("https://example.com:/", "host and port of the URL cannot be read"),
        ("https://example.com:+80/", "host and port of the URL cannot be read"),
        ("https://example.com:80:80/", "host and port of the URL cannot be read"),
        ("https://example.com:443443/", "host and port of the URL cannot be read"),
        ("https://example.com:0/", "Port 0 does not exist"),
        ("https://example.com:65536/", "Port 65536 does not exist"),
        ("https://localhost/", "localhost is this machine itself"),
        ("https://LocalHost:80/", "localhost is this machine itself"),
        ("https://a.localhost/", "a.localhost is this machine itself"),
    ],
)
def test_urls_that_targets_may_not_have(url: str, sentence: str) -> None:
    with pytest.raises(UrlRefused, match=sentence) as caught:
        check_url(url)
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()


def test_the_allowlist_opens_literals_and_localhost() -> None:
    check_url("http://127.0.0.1:9000/", allowed=LOOPBACK)
    check_url("http://[::1]:9000/", allowed=LOOPBACK)
    check_url("http://localhost:9000/", allowed=LOOPBACK)
    check_url("http://sink.localhost/", allowed=(ip_network("::1/128"),))
    check_url("http://10.1.2.3/", allowed=(ip_network("10.0.0.0/8"),))
    with pytest.raises(UrlRefused, match="this machine itself"):
        check_url("http://localhost:9000/", allowed=(ip_network("10.0.0.0/8"),))


def test_a_port_list() -> None:
    check_url("https://example.com/", allowed_ports={443, 8443})
    check_url("https://example.com:8443/", allowed_ports={443, 8443})
    with pytest.raises(UrlRefused, match="Port 80 is not open for targets here; use one of 443, 8443"):
        check_url("http://example.com/", allowed_ports={8443, 443})


@given(st.text(st.characters(), max_size=30), st.sampled_from(["", "http://", "https://", "https://example.com"]))
def test_any_text_is_accepted_or_refused(text: str, start: str) -> None:
    """No other error than the promised one, whatever a form holds."""
    with contextlib.suppress(UrlRefused):
        check_url(start + text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer abc"),
        ("X-Api-Key", "k"),
        ("content-type", "application/json; charset=utf-8"),
        ("x-empty", ""),
        ("X_Odd.Name!", "a\tb"),
    ],
)
def test_headers_that_targets_may_have(name: str, value: str) -> None:
    check_header(name, value)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "a\x7fb", "a\x1bb", "é", "a\u2028b", "\ud800"])
def test_header_values_that_could_split_a_request(value: str) -> None:
    with pytest.raises(HeaderRefused, match="a line break, a control character or a character outside ASCII") as caught:
        check_header("x-note", "canary" + value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "é", "a\0", "(a)", "a/b", "a" * 129, "a\n"])
def test_header_names_that_are_no_tokens(name: str) -> None:
    with pytest.raises(HeaderRefused, match="A header name is"):
        check_header(name, "v")


@pytest.mark.parametrize("name", ["Connection", "TE", "trailer", "Transfer-Encoding", "upgrade", "Proxy-Authorization"])
def test_hop_by_hop_names(name: str) -> None:
    with pytest.raises(HeaderRefused, match=f"{name} belongs to one connection"):
        check_header(name, "v")


@pytest.mark.parametrize(
    "name", ["Host", "Content-Length", "content-encoding", "Expect", "Webhook-Id", "webhook-signature", "Relay-Attempt"]
)
def test_names_that_the_relay_writes(name: str) -> None:
    with pytest.raises(HeaderRefused, match=f"{name} is written by the relay"):
        check_header(name, "v")


@pytest.mark.parametrize("value", [" v", "v ", "\tv", "v" * 4097])
def test_values_that_would_not_arrive_as_written(value: str) -> None:
    with pytest.raises(HeaderRefused, match=r"starts or ends with space|longer than 4096"):
        check_header("x-note", value)
