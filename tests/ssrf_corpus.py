"""Spellings of addresses that the relay must never call, as data: whoever sends anything out is tried against them.

- ADDRESSES: what a connection may be about to go to, as a resolver or a URL's literal gives it. A guard refuses each.
- URLS: what somebody may type. Each leads somewhere internal in one parser or another, or hides where it leads.
  Saving refuses each; and if one was saved nevertheless, sending must not reach anything (DIALLED: those that
  some client really turns into a loopback address, without a look-up outside this machine).

Sources: RFC 3986 section 7.4 and 6.2.2; RFC 6052, 3056, 4380, 5214, 4291, 6874; the WHATWG URL standard's IPv4 parser;
the tricks of Orange Tsai, "A New Era of SSRF" (2017); PortSwigger's URL validation bypass list (2024).
"""

from ipaddress import IPv4Address, IPv6Address

METADATA = "169.254.169.254"


def embedded(v4: str) -> dict[str, str]:
    """Every IPv6 spelling of an IPv4 address that something between here and there may turn back into it."""
    bits = int(IPv4Address(v4))
    host = f"{bits >> 16:x}:{bits & 0xFFFF:x}"
    inverted = bits ^ 0xFFFF_FFFF
    return {
        "mapped": f"::ffff:{v4}",
        "compatible": f"::{host}",
        "siit": f"::ffff:0:{host}",
        "6to4": f"2002:{host}::1",
        "teredo": f"2001:0:808:808:0:0:{inverted >> 16:x}:{inverted & 0xFFFF:x}",
        "teredo server": f"2001:0:{host}::1",
        "nat64": f"64:ff9b::{v4}",
        "nat64 local": f"64:ff9b:1::{v4}",
        "isatap": f"2606:4700::5efe:{host}",
        "isatap with a global bit": f"2606:4700:0:0:200:5efe:{host}",
    }


def numbers(v4: str) -> dict[str, str]:
    """What libc's inet_aton and browsers read as this IPv4 address, besides the four decimal numbers."""
    bits = int(IPv4Address(v4))
    a, b, c, d = (int(part) for part in v4.split("."))
    return {
        "decimal": str(bits),
        "octal": f"0{bits:o}",
        "hexadecimal": f"{bits:#x}",
        "hexadecimal in upper case": f"0X{bits:X}",
        "two parts": f"{a}.{bits & 0xFFFFFF}",
        "three parts": f"{a}.{b}.{(c << 8) | d}",
        "octal parts": ".".join(f"0{part:o}" for part in (a, b, c, d)),
        "hexadecimal parts": ".".join(f"{part:#x}" for part in (a, b, c, d)),
        "mixed parts": f"0x{a:x}.{b}.0{c:o}.{d}",
        "leading zeros": ".".join(f"{part:04d}" for part in (a, b, c, d)),
        "a dot at the end": f"{v4}.",
    }


INTERNAL_V4 = (
    "127.0.0.1", "127.1.2.3", METADATA, "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.200",
    "168.63.129.16", "192.0.0.192", "0.0.0.0", "198.18.0.1", "224.0.0.1", "255.255.255.255",
)  # fmt: skip
INTERNAL_V6 = (
    "::", "::1", "::2", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::1%lo", "fe80::1%1", "fec0::1",
    "ff02::1", "ff0e::1", "100::1", "2001:db8::1", "3fff::1", "4000::1", "5f00::1", "64:ff9b:2::1",
)  # fmt: skip

ADDRESSES: tuple[str, ...] = (
    *INTERNAL_V4,
    *INTERNAL_V6,
    *(spelling for v4 in INTERNAL_V4 for spelling in embedded(v4).values()),
)

_IDEOGRAPHIC, _FULLWIDTH, _HALFWIDTH = "\u3002", "\uff0e", "\uff61"  # dots to IDNA, RFC 3490 section 3.1
_FULLWIDTH_127 = "\uff11\uff12\uff17"
_CIRCLED_127 = "\u2460\u2461\u2466"

DIALLED: tuple[str, ...] = (
    *(f"http://{host}:{{port}}/" for host in numbers("127.0.0.1").values()),
    "http://127.0.0.1:{port}/",
    "http://127.1.2.3:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[0000::0001]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com:80@127.0.0.1:{port}/",
    "http://example.com%40@127.0.0.1:{port}/",
    "http://example.com%23@127.0.0.1:{port}/",
    f"http://127{_IDEOGRAPHIC}0{_IDEOGRAPHIC}0{_IDEOGRAPHIC}1:{{port}}/",
    f"http://127{_FULLWIDTH}0{_FULLWIDTH}0{_FULLWIDTH}1:{{port}}/",
    f"http://127{_HALFWIDTH}0{_HALFWIDTH}0{_HALFWIDTH}1:{{port}}/",
    f"http://{_FULLWIDTH_127}.0.0.1:{{port}}/",
    f"http://{_CIRCLED_127}.0.0.1:{{port}}/",
    "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3:{port}/",  # localhost in circles
    "http://loc\u00adalhost:{port}/",  # a soft hyphen, which IDNA drops
    "http://127.0.0.1%2e:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127.0.0.1:{port}/\\@example.com/",
    "http://127.0.0.1:{port}/?@example.com/",
    "http://127.0.0.1:{port}/#@example.com/",
    "http://127.0.0.1\t:{port}/",
    " http://127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}\\",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
)
"""With `{port}` to be filled in by `str.replace`, since some hold other braces."""

URLS: tuple[str, ...] = (
    *(url.replace("{port}", "8080") for url in DIALLED),
    *(f"http://{host}/" for v4 in INTERNAL_V4 for host in (v4, *numbers(v4).values())),
    *(f"http://[{address}]/" for address in ADDRESSES if ":" in address and "%" not in address),
    *(f"http://[{IPv6Address(address).exploded}]/" for v4 in (METADATA, "127.0.0.1") for address in
      embedded(v4).values()),
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[127.0.0.1]/",
    "http://[::1]@example.com/",
    "http://[::1/",
    "http://::1/",
    "http://[v1.fe80::1]/",
    "http://a.localhost/",
    "http://xn--ocalhost-lb6d/",
    "http://example.com\\@127.0.0.1/",
    "http://example.com:80\\@127.0.0.1/",
    "http://example.com#@127.0.0.1/",
    "http://127.0.0.1%00.example.com/",
    "http://127.0.0.1%0d%0aHost:example.com/",
    "http://example.com\r\nHost: 127.0.0.1/",
    "http://169.254.169.254\u200b/",
    "http://169\u3002254\u3002169\u3002254/latest/meta-data/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "dict://127.0.0.1:11211/",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "jar:http://127.0.0.1/!/",
)  # fmt: skip
