"""Log lines: their shape, and a canary that must come out of none of them."""

import asyncio
import contextvars
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from relay_contract import logs, signing, tokens
from relay_contract.logs import JsonFormatter, LogStream, log_fields, redacted
from relay_contract.nouns import KeyMode

REPOSITORY = Path(__file__).parents[2]
CANARY = "c4N4ry0123456789abcdefABCDEF"


class Sink:
    """A logger that writes as `configure` would have it, outside the tree of loggers that pytest listens to."""

    def __init__(self, name: str) -> None:
        self.stream = io.StringIO()
        self.handler = LogStream(self.stream)
        self.handler.setFormatter(JsonFormatter("edge"))
        self.logger = logging.Logger(name, logging.DEBUG)  # noqa: LOG001 (outside the tree, on purpose)
        self.logger.addHandler(self.handler)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def sink() -> Sink:
    return Sink("relay.test")


def test_a_line(sink: Sink) -> None:
    sink.logger.info("snapshot_swapped", extra=log_fields(keys=3, took_ms=1.5, ids=(1, 2), host=None, first=True))
    (line,) = sink.lines
    assert sink.text.endswith("\n")
    assert list(line) == ["ts", "level", "event", "logger", "process", "keys", "took_ms", "ids", "host", "first"]
    assert line["level"] == "info"
    assert line["event"] == "snapshot_swapped"
    assert line["logger"] == sink.logger.name
    assert line["process"] == "edge"
    assert (line["keys"], line["took_ms"], line["ids"], line["host"], line["first"]) == (3, 1.5, [1, 2], None, True)


def test_the_time_is_utc() -> None:
    record = logging.LogRecord("relay", logging.INFO, "f.py", 1, "started", (), None)
    record.created = 1_700_000_000.1239
    assert json.loads(JsonFormatter("edge").format(record))["ts"] == "2023-11-14T22:13:20.123Z"


def test_ids_are_added_where_a_task_has_set_them(sink: Sink) -> None:
    def in_a_request() -> None:
        logs.request_id.set(UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"))
        logs.delivery_id.set("d-1")
        sink.logger.info("inside")

    contextvars.copy_context().run(in_a_request)
    sink.logger.info("outside")
    inside, outside = sink.lines
    assert inside["request_id"] == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
    assert inside["delivery_id"] == "d-1"
    assert "request_id" not in outside
    assert "delivery_id" not in outside


def test_fields_cannot_pose_as_the_relay_s_own(sink: Sink) -> None:
    sink.logger.info("real", extra=log_fields(event="forged", level="debug"))
    (line,) = sink.lines
    assert (line["event"], line["field_event"]) == ("real", "forged")
    assert (line["level"], line["field_level"]) == ("info", "debug")


def test_no_text_forges_a_second_line(sink: Sink) -> None:
    forged = 'x\n{"event":"forged"}\r\u2028\x1b[2J\ud800'
    sink.logger.info(forged, extra=log_fields(path=forged))
    assert sink.text.count("\n") == 1
    assert sink.text.isascii()
    assert sink.lines[0]["path"] == forged


def test_values_that_json_does_not_know(sink: Sink) -> None:
    deep: list[Any] = []
    deep.append(deep)
    sink.logger.info(
        "odd",
        extra=log_fields(
            nan=float("nan"), raw=b"a\xff", many=list(range(1000)), deep=deep, path=Path("/x"), long="y" * 9000
        ),
    )
    (line,) = sink.lines
    assert line["nan"] == "nan"
    assert line["raw"] == "a\\xff"
    assert line["many"] == list(range(100))
    assert line["path"] == "/x"
    assert line["long"] == "y" * 8192 + "…"


def test_arguments_that_do_not_fit_still_give_a_line(sink: Sink) -> None:
    sink.logger.info("of %d and %s", "x")  # noqa: PLE1206 (the mistake under test)
    assert sink.lines[0]["event"] == "of %d and %s (its arguments do not fit: TypeError)"


def test_an_exception_with_what_led_to_it(sink: Sink) -> None:
    try:
        try:
            raise KeyError("inner")  # noqa: TRY301 (a chain is wanted)
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError:
        sink.logger.exception("failed")
    shown, led_to = sink.lines[0]["exception"]
    assert (shown["type"], shown["text"]) == ("builtins.ValueError", "outer")
    assert (led_to["type"], led_to["text"]) == ("builtins.KeyError", "'inner'")
    (frame,) = led_to["stack"]
    assert frame.startswith(f"{__file__}:")
    assert frame.endswith(" test_an_exception_with_what_led_to_it")


def test_groups_are_opened_and_circles_end(sink: Sink) -> None:
    first, second = ValueError("first"), TypeError("second")
    first.__context__, second.__context__ = second, first
    group = BaseExceptionGroup("both", [first, second])
    sink.logger.error("failed", exc_info=group)
    assert [one["text"] for one in sink.lines[0]["exception"]] == ["both (2 sub-exceptions)", "first", "second"]


SECRETS = {
    "relay key": tokens.mint(KeyMode.LIVE).token,
    "test key": tokens.mint(KeyMode.TEST).token,
    "admin token": tokens.mint_admin().token,
    "signing secret": signing.new_secret(),
    "openai": f"sk-proj-{CANARY}",
    "anthropic": f"sk-ant-api03-{CANARY}_{CANARY}-AA",
    "short sk": "sk-abcd",
    "stripe": f"sk_live_{CANARY}",
    "google": f"AIza{CANARY}",
    "jwt": f"eyJhbGciOiJI.{CANARY}.{CANARY}",
    "bearer": f"Bearer {CANARY}",
    "bearer in lower case": f"bearer  {CANARY}",
    "bearer in a URL": f"Bearer%20{CANARY}",
    "header line": f"Authorization: Basic {CANARY}==",
    "header line in bytes": f"b'x-api-key: {CANARY}'",
    "header pair": str(("X-Api-Key", CANARY)),
    "raw header pair": str((b"X-Api-Key", CANARY.encode())),
    "header dictionary": str({"x-api-key": CANARY, "accept": "*/*"}),
    "json": json.dumps({"password": CANARY, "n": 1}),
    "quoted quote": str({"password": f"a'\"{CANARY}"}),
    "cookie": f"Cookie: sessionid={CANARY}; csrftoken={CANARY}",
    "database URL": f"postgresql://relay:{CANARY}@db:5432/relay",
    "password with a slash": f"postgresql://relay:a/b?{CANARY}@db:5432/relay",
    "user without a password": f"https://{CANARY}@example.com/",
    "no user": f"redis://:{CANARY}@cache:6379/0",
    "query": f"https://example.com/x?access_token={CANARY}&n=1",
    "form": f"grant_type=authorization_code&client_secret={CANARY}&code_verifier={CANARY}",
}


def canaries_of(secret: str) -> list[str]:
    return [CANARY] if CANARY in secret else [secret[-30:]]


@pytest.mark.parametrize("kind", list(SECRETS))
def test_the_canary_comes_out_nowhere(kind: str, sink: Sink) -> None:
    secret = SECRETS[kind]
    in_the_middle = f"it said ({secret}), then went on"
    as_bytes = in_the_middle.encode()
    sink.logger.info(in_the_middle)
    sink.logger.info("said %s", in_the_middle)
    sink.logger.info("said %r", as_bytes)
    sink.logger.info("said %(what)s", {"what": in_the_middle})
    sink.logger.info("odd %d", secret)
    sink.logger.info(
        "field", extra=log_fields(a=secret, b=[{"c": (secret,)}], d={secret: 1}, e=as_bytes, f=ValueError(secret))
    )
    sink.logger.info("object", extra=log_fields(error=Exception, path=Path(in_the_middle.replace("\0", ""))))
    sink.logger.info("stack", stack_info=True)
    context = contextvars.copy_context()
    context.run(logs.request_id.set, secret)
    context.run(sink.logger.info, "inside")
    try:
        try:
            raise KeyError(as_bytes)  # noqa: TRY301 (a chain is wanted)
        except KeyError as inner:
            raise ExceptionGroup(in_the_middle, [OSError(5, secret, secret)]) from inner
    except ExceptionGroup:
        sink.logger.exception("failed %s", secret)
    assert len(sink.lines) == 10
    assert sink.handler.lost == 0
    for canary in canaries_of(secret):
        assert canary not in sink.text
    assert sink.text.count("[redacted]") >= 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", CANARY),
        ("X-Api-Key", [CANARY]),
        (b"cookie", CANARY.encode()),
        ("password", CANARY),
        ("token", 12345),
    ],
)
def test_a_field_with_a_secret_s_name_is_not_shown(name: object, value: object, sink: Sink) -> None:
    sink.logger.info("call", extra={"fields": {"headers": {name: value}}})
    (shown,) = sink.lines[0]["headers"].values()
    assert shown == "[redacted]"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "snapshot_swapped",
        "rk_live_0123456789ab… was revoked",
        "https://api.example.com:8443/v1/chat?n=1#x",
        "mail to someone@example.com",
        "task-runner-1 and risk-aware-plan",
        "/r/demo/v1/events",
        "max_tokens=16 total_tokens: 32",
        "the authorization code was used twice",
        "ra_short",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_what_stands_around_a_secret_stays() -> None:
    assert (
        redacted("to postgresql://relay:pw@db:5432/relay failed") == "to postgresql://[redacted]@db:5432/relay failed"
    )
    assert redacted("a=1&access_token=x&b=2") == "a=1&access_token=[redacted]&b=2"
    assert redacted(str({"x-api-key": "k", "accept": "*/*"})) == "{'x-api-key': [redacted], 'accept': '*/*'}"
    assert redacted("Authorization: Basic eDp5\nAccept: */*") == "Authorization: [redacted]\nAccept: */*"


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.text(st.characters(codec="utf-8"), max_size=60))
def test_a_key_is_found_whatever_stands_around_it(before: str, after: str) -> None:
    token = "rk_live_0123456789ABabcdefghijklmnopqrstuvwxyz0123451sQlbh"
    assert token[20:] not in redacted(before + token + after)


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "://",
        "://a:",
        "bearer ",
        "Bearer\t",
        "authorization",
        "authorization: ",
        "token='",
        "eyJ",
        "eyJa.",
        "sk-",
        "rk_live_",
        "\\",
        "'\\",
    ],
)
def test_hostile_text_does_not_stop_the_process(piece: str) -> None:
    """A pattern that backtracks would run into the suite's time limit here."""
    assert len(redacted(piece * 1_000_000)) <= logs.MAX_TEXT_LENGTH + 1


def test_a_line_that_cannot_be_written_is_counted_and_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    sink = Sink("test.closed")
    sink.stream.close()
    sink.logger.info("said %s", CANARY)
    assert sink.handler.lost == 1
    assert capsys.readouterr() == ("", "")


async def test_aiohttp_quotes_no_header_into_the_log() -> None:
    """The server's own logger puts lines of a malformed request into its message; a split header leaves only a tail."""
    sink = Sink("aiohttp.server")

    async def answer(request: web.BaseRequest) -> web.Response:
        raise AssertionError("no request is well formed here")

    runner = web.ServerRunner(web.Server(answer, logger=sink.logger))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    start = b"GET / HTTP/1.1\r\nHost: x\r\n"
    secret = CANARY.encode()
    attacks: list[tuple[bytes, ...]] = [
        (start + b"Authorization: Bearer " + secret + b"\x00\r\n\r\n",),
        (start + b"x-api-key " + secret + b"\r\n\r\n",),
        (start + b"X-Whatever: ", secret + b"\x00\r\n\r\n"),
        (secret + b" / HTTP/1.1\r\n\r\n",),
        (start + b"X-Long: " + secret * 1000 + b"\r\n\r\n",),
    ]
    for attack in attacks:
        reader, writer = await asyncio.open_connection(host, port)
        for packet in attack:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0)  # one turn of the loop, in which the server reads this packet by itself
        assert (await reader.readline()).startswith(b"HTTP/1.0 400 ")
        writer.close()
        await writer.wait_closed()
    await runner.cleanup()
    assert len(sink.lines) == len(attacks)
    assert CANARY not in sink.text
    assert {line["exception"][0]["text"] for line in sink.lines} == {"[dropped: it quotes what the peer sent]"}
    assert all(line["exception"][0]["type"].startswith("aiohttp.http_exceptions.") for line in sink.lines)


PROGRAM = """
import gc, logging, sys, threading, warnings
early = logging.getLogger("library")
early.addHandler(logging.StreamHandler(sys.stderr))
early.propagate = False

from relay_contract import logs
secret = "Bearer c4N4ry0123456789abcdefABCDEF"
logs.configure("info", "worker")

class Dying:
    def __del__(self):
        raise ValueError(secret)

def die():
    raise ValueError(secret)

early.warning("library said %s", secret)
logging.getLogger("quiet").debug("not_shown")
warnings.warn(secret)
thread = threading.Thread(target=die, name="t1")
thread.start()
thread.join()
dying = Dying()
del dying
gc.collect()
raise RuntimeError(secret)
"""


def test_a_configured_process_says_everything_through_the_redaction() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("warning", "library"),
        ("warning", "py.warnings"),
        ("critical", "relay"),
        ("error", "relay"),
        ("critical", "relay"),
    ]
    assert lines[0]["event"] == "library said Bearer [redacted]"
    assert [line["event"] for line in lines[2:]] == ["thread_died", "unraisable_exception", "uncaught_exception"]
    assert lines[2]["thread"] == "t1"
    assert lines[4]["exception"][0]["text"] == "Bearer [redacted]"
    assert {line["process"] for line in lines} == {"worker"}
    assert CANARY not in done.stdout
    assert done.stderr == ""
    assert done.returncode == 1


def test_an_unknown_level_is_refused() -> None:
    script = "from relay_contract import logs; logs.configure('loud', 'edge')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "ValueError: Unknown level: 'LOUD'" in done.stderr
