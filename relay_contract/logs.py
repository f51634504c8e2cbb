"""Logging for every process: one JSON object a line, and no secret in it.

    logger.info("snapshot_swapped", extra=log_fields(keys=3, took_ms=12))
    {"ts":"2026-11-21T10:00:00.123Z","level":"info","event":"snapshot_swapped","logger":"relay_edge.catalog",
     "process":"edge","request_id":"...","keys":3,"took_ms":12}

The message is a constant event name; data goes into fields, ids rather than objects. `request_id` and `delivery_id` are
added where a task has set them. A logged exception becomes `exception`: a list, outermost first, of type, text and
stack (file:line function; no source text, no local values).

Redaction is the second line of defence, not the first: do not log bodies, bearers or host keys. What libraries quote
(aiohttp.server puts a malformed request's header lines into its message) passes `redacted` on its way out, in messages,
arguments, fields and exceptions alike, and errors that quote raw bytes of a caller keep only their type.

Never on a request's hot path: a line costs some 20 us and blocks on the stream.
"""

import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import islice
from math import isfinite
from types import TracebackType
from typing import Any, TextIO
from uuid import UUID

request_id: ContextVar[UUID | str | None] = ContextVar("request_id", default=None)
delivery_id: ContextVar[UUID | str | None] = ContextVar("delivery_id", default=None)

REDACTED = "[redacted]"
MAX_TEXT_LENGTH = 8192
MAX_ITEMS = 100
MAX_DEPTH = 6
MAX_EXCEPTIONS = 10
MAX_FRAMES = 50

_SCANNED_LENGTH = 4 * MAX_TEXT_LENGTH

_SENSITIVE_NAMES = (
    r"(?:proxy-)?authorization|x-api-key|x-goog-api-key|api[_-]?key|(?:set-)?cookie|passw(?:or)?d|secret(?:_key)?"
    r"|client_secret|(?:access|refresh|id)_token|code_verifier|master_key|token"
)
_SENSITIVE_NAME = re.compile(_SENSITIVE_NAMES, re.IGNORECASE)

_USERINFO = re.compile(r"(:/{1,3})(?:[^\s/?#'\"]{0,1024}|[^\s/@:]{0,256}:[^\s'\"]{0,1024})@")
_USERINFO_SLICE = 4_096
"""More than two matches long. This pattern looks up to 1,024 characters ahead from each `:/`, 6 us a character of
hostile text, and Python switches threads only between two calls of it."""

# Every quantifier that something has to follow is bounded or starts at a boundary: the text is hostile, and a pattern
# that backtracks over it would stop the process.
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    # The tokens that can be told by their look. `display()` of a key (id and ellipsis) is public and stays.
    (re.compile(r"rk_(?:live|test)_(?![0-9A-Za-z]{12}…)[\w-]+|(?<![0-9A-Za-z])r[ai]_[0-9A-Za-z]{16,}"), REDACTED),
    # Refresh tokens, links in mails, secrets of applications: 32 random octets in base64url.
    (re.compile(r"(?<![0-9A-Za-z])(?:rr|rt|as)_[\w-]{43}"), REDACTED),
    (re.compile(r"wh(?:sec|sk)_[\w+/=-]+"), REDACTED),
    (re.compile(r"(?<![0-9A-Za-z])(?:sk|xai|pplx)-[\w-]{4,}|(?<![0-9A-Za-z])(?:sk|gsk|hf)_\w{8,}"), REDACTED),
    (re.compile(r"(?<![\w-])AIza[\w-]{20,}|(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), REDACTED),
    # user:password@ of any URL; the second form catches passwords with a slash or a question mark left unescaped.
    (_USERINFO, rf"\1{REDACTED}@"),
    (re.compile(r"(?i)(\bbearer(?:\s|%20|\+|\\t)+)[^\s'\",;]+"), rf"\1{REDACTED}"),
    # A field by its name: `'x-api-key': b'...'`, `(b'X-Api-Key', b'...')`, `token=...`; then a header line, to its end.
    (
        re.compile(
            rf"(?i)(?<![\w-])({_SENSITIVE_NAMES})((?:\\{{0,8}}['\"]\s{{0,8}}[:,=]|=)\s{{0,8}}b?)"
            r"(\\{1,8}['\"][^\r\n]*"  # a repr of a repr, whose end cannot be told: to the line's end
            r"|'(?:\\.|[^'\\\r\n])*'?|\"(?:\\.|[^\"\\\r\n])*\"?|[^\s&,;)\]}]+)"
        ),
        rf"\1\2{REDACTED}",
    ),
    (
        re.compile(
            r"(?i)(?<![\w-])((?:proxy-)?authorization|x-api-key|x-goog-api-key|api-key|(?:set-)?cookie)(\s{0,8}:\s{0,8})"
            r"[^\r\n]+"
        ),
        rf"\1\2{REDACTED}",
    ),
)

_QUOTES_RAW_INPUT = ("aiohttp.http_exceptions",)
"""Modules whose exceptions quote bytes of the peer. A header cut in two by the network leaves a tail of a secret
that no pattern can know, so the text of these is dropped whole."""


def log_fields(**fields: object) -> dict[str, dict[str, object]]:
    """The `extra=` argument of a logging call: data that goes beside the event."""
    return {"fields": fields}


def is_secret_name(name: str) -> bool:
    """True for the name of a field or header whose value is a credential, in any case: `x-api-key`, `client_secret`."""
    return _SENSITIVE_NAME.fullmatch(name) is not None


def without_secrets(text: str) -> str:
    """The text with everything that looks like a secret replaced, however long. 64 KB take 12 ms, hostile ones half a
    second: for a thread."""
    for pattern, replacement in _SECRETS:
        if pattern is _USERINFO and len(text) > _USERINFO_SLICE:
            for start in (0, _USERINFO_SLICE // 2):  # what a slice cuts in two is whole in one of the others
                text = text[:start] + "".join(
                    pattern.sub(replacement, text[place : place + _USERINFO_SLICE])
                    for place in range(start, len(text), _USERINFO_SLICE)
                )
        else:
            text = pattern.sub(replacement, text)
    return text


def redacted(text: str) -> str:
    """The text with everything that looks like a secret replaced, cut to `MAX_TEXT_LENGTH` characters."""
    # Cut twice, to bound the work and to bound the line: the first may split a secret, so it is far behind the second.
    result = without_secrets(text[:_SCANNED_LENGTH])
    return result if len(result) <= MAX_TEXT_LENGTH and len(text) <= _SCANNED_LENGTH else result[:MAX_TEXT_LENGTH] + "…"


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON in ASCII, so that no record can forge a second line."""

    def __init__(self, process_name: str) -> None:
        super().__init__()
        self._process_name = process_name

    def format(self, record: logging.LogRecord) -> str:
        created = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "ts": created.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": redacted(_event(record)),
            "logger": record.name,
            "process": self._process_name,
        }
        for variable in (request_id, delivery_id):
            current = variable.get()
            if current is not None:
                line[variable.name] = redacted(str(current))
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            for name, value in _cleaned_items(fields, depth=1):
                line[name if name not in line else f"field_{name}"] = value
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = [_described(error) for error in _chain(record.exc_info[1])]
        if record.stack_info:
            line["stack"] = redacted(record.stack_info)
        return json.dumps(line, separators=(",", ":"))


class LogStream(logging.StreamHandler[TextIO]):
    """Writes lines to a stream. A line that cannot be written is counted in `lost`."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.lost = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 (logging's names)
        # The standard one prints the record and its arguments raw to stderr, past the redaction.
        self.lost += 1


def configure(level: str, process_name: str, stream: TextIO | None = None) -> LogStream:
    """Route all logging of this process, its warnings and its uncaught exceptions to `stream` (default: stdout).

    `level`: a name that logging knows, in any case; ValueError for another. Call it after libraries set up their own
    logging, or tell them not to (uvicorn `log_config=None`, Celery's `setup_logging` signal): handlers that exist are
    removed, ones that are added later are not seen.
    """
    handler = LogStream(sys.stdout if stream is None else stream)
    handler.setFormatter(JsonFormatter(process_name))
    root = logging.getLogger()
    root.setLevel(level.upper())
    root.handlers[:] = [handler]
    for logger in list(root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread_death
    sys.unraisablehook = _log_unraisable
    return handler


def _event(record: logging.LogRecord) -> str:
    template = str(record.msg)
    if record.exc_info and any(_quotes_raw_input(error) for error in _chain(record.exc_info[1])):
        return template.partition("\n")[0]
    if not record.args:
        return template
    try:
        return template % record.args
    except Exception as error:  # noqa: BLE001 (an argument's own __str__ may raise anything; the line must go out)
        return f"{template} (its arguments do not fit: {type(error).__name__})"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those that led to it, members of groups included, outermost first, each once."""
    pending, seen = [error], set[int]()
    while pending and len(seen) < MAX_EXCEPTIONS:
        current = pending.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            pending.extend(current.exceptions)
        pending.append(current.__cause__ or (None if current.__suppress_context__ else current.__context__))


def _quotes_raw_input(error: BaseException) -> bool:
    return any(kind.__module__ in _QUOTES_RAW_INPUT for kind in type(error).__mro__)


def _described(error: BaseException) -> dict[str, object]:
    kind = type(error)
    text = "[dropped: it quotes what the peer sent]" if _quotes_raw_input(error) else redacted(_text_of(error))
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    return {
        "type": f"{kind.__module__}.{kind.__qualname__}",
        "text": text,
        "stack": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 (a foreign __str__ may raise anything; the line must go out)
        return f"[its text cannot be made: {type(error).__name__}]"


def _cleaned(value: object, depth: int) -> object:
    """The value as JSON can carry it, each string in it redacted."""
    cleaned: object
    match value:
        case None | bool() | int():
            cleaned = value
        case float() if isfinite(value):  # JSON has no nan and no infinity
            cleaned = value
        case bytes() | bytearray():
            cleaned = redacted(value[:_SCANNED_LENGTH].decode("utf-8", "backslashreplace"))
        case BaseException():
            cleaned = _described(value)
        case Mapping() if depth < MAX_DEPTH:
            cleaned = dict(_cleaned_items(value, depth + 1))
        case list() | tuple() | set() | frozenset() if depth < MAX_DEPTH:
            cleaned = [_cleaned(item, depth + 1) for item in islice(value, MAX_ITEMS)]
        case _:
            cleaned = redacted(_text_of(value))
    return cleaned


def _cleaned_items(values: Mapping[Any, object], depth: int) -> Iterator[tuple[str, object]]:
    for key, value in islice(values.items(), MAX_ITEMS):
        name = redacted(_text_of(key.decode("latin-1") if isinstance(key, bytes) else key))
        is_secret = is_secret_name(name) and value is not None
        yield name, REDACTED if is_secret else _cleaned(value, depth)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("relay").critical("uncaught_exception", exc_info=(kind, error, trace))


def _log_thread_death(death: threading.ExceptHookArgs) -> None:
    if death.exc_value is not None and not issubclass(death.exc_type, SystemExit):
        fields = log_fields(thread=death.thread.name if death.thread else None)
        logging.getLogger("relay").critical("thread_died", exc_info=death.exc_value, extra=fields)


def _log_unraisable(event: "sys.UnraisableHookArgs") -> None:
    fields = log_fields(where=event.err_msg)
    logging.getLogger("relay").error("unraisable_exception", exc_info=event.exc_value, extra=fields)
