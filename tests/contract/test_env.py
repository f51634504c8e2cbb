"""The reader of environment variables: every mistake at once, no secret in the message."""

import base64
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from relay_contract.env import ConfigurationError, Env

KEY = bytes(range(224, 256))
KEY_EXPECTED = "base64 of exactly 32 bytes (`openssl rand -base64 32` makes one), or a file's path in "
KEY_TEXT = base64.b64encode(KEY).decode()
Reader = Callable[[Env], object]


def problems_of(variables: dict[str, str], *readers: Reader) -> tuple[str, ...]:
    env = Env(variables)
    for read in readers:
        read(env)
    with pytest.raises(ConfigurationError) as caught:
        env.done()
    return caught.value.problems


@pytest.mark.parametrize(
    ("read", "raw", "value"),
    [
        (lambda env: env.text("X"), "  edge-1 ", "edge-1"),
        (lambda env: env.text("X", choices=("a", "b")), "b", "b"),
        (lambda env: env.integer("X", None, 1, 65535), "8080", 8080),
        (lambda env: env.integer("X", None, -5, 5), "-5", -5),
        (lambda env: env.seconds("X", None, 0, 90), "0.25", 0.25),
        (lambda env: env.seconds("X", None, 0, 90), "90", 90.0),
        (lambda env: env.boolean("X", None), "Yes", True),
        (lambda env: env.boolean("X", None), "0", False),
        (lambda env: env.url("X"), "postgresql://u:p@db/relay", "postgresql://u:p@db/relay"),
        (lambda env: env.url("X"), "postgresql://u@/relay?host=/run/pg", "postgresql://u@/relay?host=/run/pg"),
        (lambda env: env.url("X", ("redis", "rediss", "unix")), "unix:///run/valkey.sock", "unix:///run/valkey.sock"),
        (lambda env: env.url("X", ("http", "https")), "http://[::1]:8080", "http://[::1]:8080"),
        (lambda env: env.secret("X"), "s3cret", "s3cret"),
        (lambda env: env.key32("X"), KEY_TEXT, KEY),
        (lambda env: env.key32("X"), base64.urlsafe_b64encode(KEY).decode(), KEY),
        (lambda env: env.keys32("X"), f"{KEY_TEXT}, {KEY_TEXT}", (KEY, KEY)),
        (lambda env: env.networks("X"), "10.0.0.0/8, fd00::/8", (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))),
        (lambda env: env.networks("X"), "127.0.0.1 ::1", (ip_network("127.0.0.1/32"), ip_network("::1/128"))),
    ],
)
def test_a_good_value(read: Reader, raw: str, value: object) -> None:
    env = Env({"X": raw})
    got = read(env)
    env.done()
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("variables", [{}, {"X": ""}, {"X": "  "}])
@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda env: env.text("X", "edge"), "edge"),
        (lambda env: env.text("X", "", ("a",)), ""),
        (lambda env: env.integer("X", 0, 1, 9), 0),
        (lambda env: env.seconds("X", 2.5, 0, 9), 2.5),
        (lambda env: env.boolean("X", False), False),
        (lambda env: env.url("X", default="postgres://db/x"), "postgres://db/x"),
        (lambda env: env.secret("X", ""), ""),
        (lambda env: env.keys32("X"), ()),
        (lambda env: env.networks("X"), ()),
        (lambda env: env.networks("X", "10.0.0.0/8"), (ip_network("10.0.0.0/8"),)),
    ],
)
def test_unset_and_blank_mean_the_default(read: Reader, value: object, variables: dict[str, str]) -> None:
    env = Env(variables)
    assert read(env) == value
    env.done()


@pytest.mark.parametrize(
    ("read", "placeholder_type"),
    [
        (lambda env: env.text("X"), str),
        (lambda env: env.integer("X", None, 1, 9), int),
        (lambda env: env.seconds("X", None, 1.0, 9.0), float),
        (lambda env: env.boolean("X", None), bool),
        (lambda env: env.url("X"), str),
        (lambda env: env.secret("X"), str),
        (lambda env: env.key32("X"), bytes),
        (lambda env: env.networks("X", None), tuple),
    ],
)
def test_a_required_variable(read: Reader, placeholder_type: type) -> None:
    env = Env({})
    assert type(read(env)) is placeholder_type
    with pytest.raises(ConfigurationError) as caught:
        env.done()
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("X is not set; expected ")


@pytest.mark.parametrize(
    ("read", "raw", "problem"),
    [
        (lambda env: env.text("X", choices=("a", "b")), "c", "X is wrong; expected one of a, b, got 'c'"),
        (
            lambda env: env.text("X"),
            "a\x1b[2Jb",
            r"X is wrong; expected text without control characters, got 'a\x1b[2Jb'",
        ),
        (lambda env: env.integer("X", 5, 1, 9), "10", "X is wrong; expected a whole number from 1 to 9, got '10'"),
        (lambda env: env.integer("X", 5, 1, 9), "5.0", "X is wrong; expected a whole number from 1 to 9, got '5.0'"),
        (lambda env: env.integer("X", 5, 1, 9), "1_0", "X is wrong; expected a whole number from 1 to 9, got '1_0'"),
        (lambda env: env.integer("X", 5, 1, 9), "٣", r"X is wrong; expected a whole number from 1 to 9, got '\u0663'"),
        (
            lambda env: env.integer("X", 5, 1, 9),
            "9" * 50,
            f"X is wrong; expected a whole number from 1 to 9, got '{'9' * 40}'",
        ),
        (
            lambda env: env.seconds("X", 5, 1, 9),
            "nan",
            "X is wrong; expected seconds from 1 to 9, such as 1, got 'nan'",
        ),
        (
            lambda env: env.seconds("X", 5, 1, 9),
            "1e0",
            "X is wrong; expected seconds from 1 to 9, such as 1, got '1e0'",
        ),
        (
            lambda env: env.seconds("X", 5, 1, 9),
            "0.5",
            "X is wrong; expected seconds from 1 to 9, such as 1, got '0.5'",
        ),
        (lambda env: env.boolean("X", True), "maybe", "X is wrong; expected true or false, got 'maybe'"),
        (
            lambda env: env.networks("X"),
            "10.0.0.1/8",
            (
                "X is wrong; expected a list of networks such as `10.0.0.0/8 fd00::/8`, with no bits set behind the"
                " prefix, got '10.0.0.1/8'"
            ),
        ),
    ],
)
def test_a_wrong_value_is_shown(read: Reader, raw: str, problem: str) -> None:
    assert problems_of({"X": raw}, read) == (problem,)


@pytest.mark.parametrize(
    "raw",
    [
        "canary",
        "mysql://u:canary@db/relay",
        "postgres:canary",
        "postgres://",
        "postgres:///canary",
        "postgres://u:canary@db:99999/x",
        "postgres://u:canary@db:0/x",
        "postgres://u:canary@db:x/x",
        "postgres://u:can ary@db/x",
        "postgres://u:canaryé@db/x",
        "postgres://[canary/x",
        "postgres://u:canary\n@db/x",
    ],
)
def test_a_wrong_url_is_not_shown(raw: str) -> None:
    assert problems_of({"X": raw}, lambda env: env.url("X")) == (
        "X is wrong; expected a URL such as postgresql://host/..., scheme one of postgresql, postgres",
    )


@pytest.mark.parametrize("raw", ["canary", KEY_TEXT[:-4], KEY_TEXT[:-1], KEY_TEXT + "AAAA", KEY_TEXT + "!", "é" * 44])
def test_a_wrong_key_is_not_shown(raw: str) -> None:
    assert problems_of({"X": raw}, lambda env: env.key32("X")) == (f"X is wrong; expected {KEY_EXPECTED}X_FILE",)


def test_all_mistakes_are_reported_together_once_and_in_order() -> None:
    env = Env({"RELAY_PORT": "http", "RELAY_LEVEL": "info"})
    env.url("DATABASE_URL")
    env.url("DATABASE_URL")
    assert env.integer("RELAY_PORT", 8080, 1, 65535) == 1
    assert env.text("RELAY_LEVEL", "info") == "info"
    env.boolean("RELAY_DEBUG", None)
    with pytest.raises(ConfigurationError) as caught:
        env.done()
    assert str(caught.value) == (
        "The configuration is not usable. Set these variables and start again:\n"
        "  DATABASE_URL is not set; expected a URL such as postgresql://host/..., scheme one of postgresql, postgres\n"
        "  RELAY_PORT is wrong; expected a whole number from 1 to 65535, got 'http'\n"
        "  RELAY_DEBUG is not set; expected true or false"
    )


def test_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "key").write_text(KEY_TEXT + "\r\n")
    env = Env({"S_FILE": str(tmp_path / "secret"), "K_FILE": str(tmp_path / "key"), "S": " "})
    assert env.secret("S") == "s3cret"
    assert env.key32("K") == KEY
    env.done()


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * 65_537)
    (tmp_path / "short").write_text("Y2FuYXJ5")
    variables = {
        f"{name.upper()}_FILE": str(tmp_path / name) for name in ("empty", "binary", "large", "short", "canary")
    }
    problems = problems_of(
        variables | {"NUL_FILE": "a\0b", "BOTH": "canary", "BOTH_FILE": "/dev/null"},
        lambda env: env.secret("EMPTY"),
        lambda env: env.secret("BINARY"),
        lambda env: env.secret("LARGE"),
        lambda env: env.key32("SHORT"),
        lambda env: env.secret("CANARY"),
        lambda env: env.secret("NUL"),
        lambda env: env.secret("BOTH"),
    )
    assert problems == (
        "EMPTY_FILE is wrong; the file it names cannot be used: it is empty",
        "BINARY_FILE is wrong; the file it names cannot be used: it is not UTF-8 text",
        "LARGE_FILE is wrong; the file it names cannot be used: it is larger than 65536 bytes",
        f"SHORT_FILE is wrong; expected {KEY_EXPECTED}SHORT_FILE",
        "CANARY_FILE is wrong; the file it names cannot be used: No such file or directory",
        "NUL_FILE is wrong; the file it names cannot be used: embedded null byte",
        "BOTH and BOTH_FILE are both set; expected one of them",
    )
    assert str(tmp_path) not in "".join(problems)


def test_placeholders_of_secrets_cannot_be_known() -> None:
    first, second = Env({}), Env({})
    assert first.key32("K") != second.key32("K")
    assert first.secret("S") != second.secret("S")
