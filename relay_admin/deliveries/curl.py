"""A logged request as a curl command that sends the same bytes again. Pure.

It runs as pasted into any POSIX shell. The key is not in it: it stands as "$RELAY_KEY" for whoever runs it.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from relay_contract.headers import CREDENTIALS, HOP_BY_HOP
from relay_contract.logs import REDACTED

MAX_TEXT_BYTES = 64 * 1024
"""Of a body inside the command: the longest argument Linux takes is 128 KiB."""
MAX_OCTAL_BYTES = 8 * 1024
"""Of one that is no text: written as octal escapes, four characters a byte."""
BODY_FILE = "request-body.bin"

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_WRITTEN_BY_CURL = HOP_BY_HOP | CREDENTIALS | {"host", "content-length", "accept-encoding", "content-encoding"}
_CARRIAGE = " \\\n  "


@dataclass(frozen=True, slots=True)
class CurlCommand:
    """`notes` say what has to be done before the command is run."""

    command: str
    notes: tuple[str, ...]


def as_curl(method: str, url: str, headers: Mapping[str, str], body: bytes, *, has_key: bool = True) -> CurlCommand:
    """The command. `url` is absolute, with its query; `has_key` False: the endpoint takes no relay key.

    `body` and `headers` are taken as they are: pass them through `redaction.Redaction` first.
    """
    notes = ["Set RELAY_KEY to a relay key of the project."] if has_key else []
    words = ["curl", *_method_words(method, body), "--globoff", f"--url {shlex.quote(url)}"]
    if has_key:
        words.append('--header "Authorization: Bearer $RELAY_KEY"')
    words.extend(_header_words(headers, has_body=bool(body)))
    before, data = _data_words(body)
    if BODY_FILE in data:
        notes.append(f"Save the body, {len(body):,} bytes, as {BODY_FILE} first.")
    if REDACTED in url or REDACTED.encode() in body or any(REDACTED in value for value in headers.values()):
        notes.append(f"Replace {REDACTED} by what was hidden.")
    return CurlCommand(before + _CARRIAGE.join((*words, *filter(None, (data,)))), tuple(notes))


def _method_words(method: str, body: bytes) -> tuple[str, ...]:
    if method == "HEAD":
        return ("--head",)  # `--request HEAD` waits for a body that never comes
    return () if method == ("POST" if body else "GET") else (f"--request {shlex.quote(method)}",)


def _header_words(headers: Mapping[str, str], *, has_body: bool) -> list[str]:
    """What curl has to be told. A header without value ends in a semicolon; one that curl adds by itself is removed by
    a name that ends in a colon."""
    words = []
    for name, value in headers.items():
        if name.lower() not in _WRITTEN_BY_CURL and _HEADER_NAME.fullmatch(name):
            text = " ".join(value.split("\r\n")).replace("\n", " ").replace("\0", "").strip()
            words.append(f"--header {shlex.quote(f'{name}: {text}' if text else f'{name};')}")
    if has_body and "content-type" not in {name.lower() for name in headers}:
        words.append("--header 'content-type:'")
    return words


def _data_words(body: bytes) -> tuple[str, str]:
    """What stands before `curl`, and its option for the body."""
    if not body:
        return "", ""
    try:
        text = body.decode() if b"\0" not in body and len(body) <= MAX_TEXT_BYTES else None
    except UnicodeDecodeError:
        text = None
    if text is not None:
        # --data-raw, since --data-binary takes a body that begins with @ for a file name.
        return "", f"--data-raw {shlex.quote(text)}"
    if len(body) <= MAX_OCTAL_BYTES:
        escapes = "".join(f"\\{byte:03o}" for byte in body)
        return f"printf '{escapes}' | ", "--data-binary @-"
    return "", f"--data-binary @{BODY_FILE}"
