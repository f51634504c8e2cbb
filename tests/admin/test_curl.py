"""A copied curl command, run by a real shell with a curl that says how it was called."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_admin.deliveries.curl import BODY_FILE, MAX_OCTAL_BYTES, MAX_TEXT_BYTES, CurlCommand, as_curl
from relay_contract.logs import REDACTED

URL = "https://relay.example/r/shop/line/orders?a=b&c=$HOME"
FAKE = f"""#!{sys.executable}
import json, sys
sys.stdout.write(json.dumps([sys.argv[1:], sys.stdin.buffer.read().hex()]))
"""


@pytest.fixture(scope="module")
def fake_curl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `curl` that prints its arguments and standard input."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "curl"
    program.write_text(FAKE)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def run(command: CurlCommand, fake_curl: Path) -> tuple[list[str], bytes]:
    """What curl gets: its arguments, and what is piped into it."""
    environ = {"PATH": f"{fake_curl}:{os.environ['PATH']}", "RELAY_KEY": "rk_live_$(touch x)"}
    ended = subprocess.run(["sh", "-c", command.command], check=True, capture_output=True, env=environ, input=b"")
    arguments, piped = json.loads(ended.stdout)
    assert ended.stderr == b""
    return arguments, bytes.fromhex(piped)


def sent(command: CurlCommand, fake_curl: Path) -> bytes:
    """The body that curl would send."""
    arguments, piped = run(command, fake_curl)
    if "--data-raw" in arguments:
        assert piped == b""
        return os.fsencode(arguments[arguments.index("--data-raw") + 1])
    assert arguments[arguments.index("--data-binary") + 1] == "@-"
    return piped


def test_the_whole_command(fake_curl: Path) -> None:
    headers = {"content-type": "application/json", "x-shop": "it's", "x-empty": "", "authorization": "Bearer rk_live_x",
               "host": "relay", "content-length": "2", "cookie": "a=b"}  # fmt: skip
    command = as_curl("POST", URL, headers, b'{"a": "it\'s"}')
    assert command.notes == ("Set RELAY_KEY to a relay key of the project.",)
    assert run(command, fake_curl) == (
        [
            "--globoff", "--url", URL, "--header", "Authorization: Bearer rk_live_$(touch x)",
            "--header", "content-type: application/json", "--header", "x-shop: it's", "--header", "x-empty;",
            "--data-raw", '{"a": "it\'s"}',
        ],
        b"",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "body", "arguments"),
    [
        ("POST", b"a", ["--header", "content-type:", "--data-raw", "a"]),
        ("PUT", b"a", ["--request", "PUT", "--header", "content-type:", "--data-raw", "a"]),
        ("POST", b"", ["--request", "POST"]),
        ("GET", b"", []),
        ("HEAD", b"", ["--head"]),
        ("GET", b"a", ["--request", "GET", "--header", "content-type:", "--data-raw", "a"]),
    ],
)
def test_methods(fake_curl: Path, method: str, body: bytes, arguments: list[str]) -> None:
    got, _ = run(as_curl(method, URL, {}, body, has_key=False), fake_curl)
    assert [each for each in got if each not in ("--globoff", "--url", URL)] == arguments


def test_a_key_is_not_asked_for_where_none_is_taken() -> None:
    command = as_curl("POST", URL, {}, b"a", has_key=False)
    assert command.notes == ()
    assert "RELAY_KEY" not in command.command


def test_a_large_body_is_named_as_a_file(fake_curl: Path) -> None:
    for body in (b"a" * (MAX_TEXT_BYTES + 1), b"\0" * (MAX_OCTAL_BYTES + 1)):
        command = as_curl("POST", URL, {}, body)
        assert command.notes[1] == f"Save the body, {len(body):,} bytes, as {BODY_FILE} first."
        assert run(command, fake_curl)[0][-2:] == ["--data-binary", f"@{BODY_FILE}"]


def test_what_was_hidden_is_said() -> None:
    note = f"Replace {REDACTED} by what was hidden."
    assert note in as_curl("POST", URL, {"x-session": REDACTED}, b"").notes
    assert note in as_curl("POST", URL, {}, REDACTED.encode()).notes
    assert note in as_curl("POST", URL + REDACTED, {}, b"").notes


@pytest.mark.parametrize(
    "body",
    [b"@/etc/passwd", b"a\r\nb\n\n", "grün 😀".encode(), b"\xff\xfe", b"\0", bytes(range(256)), b"%s\\n$(id)`id`",
     b"-a", b"a" * MAX_TEXT_BYTES, b"\0" * MAX_OCTAL_BYTES, b"0123\x0045"],
)  # fmt: skip
def test_the_body_is_sent_byte_for_byte(fake_curl: Path, body: bytes) -> None:
    assert sent(as_curl("POST", URL, {}, body), fake_curl) == body


HOSTILE = st.text(alphabet="a'\"$`\\!\n\r;&|<>(){}*?#~%@ -\tü", max_size=20)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HOSTILE, st.one_of(HOSTILE.map(str.encode), st.binary(max_size=20)), HOSTILE)
def test_nothing_of_a_request_is_run_by_the_shell(fake_curl: Path, query: str, body: bytes, value: str) -> None:
    url = "https://relay.example/?" + query
    command = as_curl("POST", url, {"x-a": value, "x'; id": value}, body)
    arguments, _ = run(command, fake_curl)
    assert arguments[arguments.index("--url") + 1] == url
    assert [each for each in arguments if each.startswith("x'")] == []
    header = next(each for each in arguments if each.startswith("x-a"))
    assert "\n" not in header
    assert "\r\n" not in header
    if body:
        assert sent(command, fake_curl) == body
