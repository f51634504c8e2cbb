"""The `model` of a multipart/form-data request (RFC 7578): found and replaced without touching another byte.

Parsers of forms differ, so a body that two of them could read differently is refused rather than guessed at: the relay
must grant the model that the host will serve. The boundary stands only where a part begins or the form ends, each part
has one plain `Content-Disposition`, and there is one part named `model`. What clients really send is that plain.

Pure. Costs two searches through the body, and a look at each part's head.
"""

import re
from dataclasses import dataclass

from relay_contract.errors import BadField, BadRequest
from relay_edge.protocols.model_name import NO_MODEL

MAX_PARTS = 128
MAX_PART_HEAD_BYTES = 4_096
MAX_VALUE_BYTES = 256
BLOB_TOKENS = 1_600
"""For each file, as in `estimate.py`: what it holds is not read by the character."""

_CONTENT_TYPE = re.compile(
    r"multipart/form-data(?:[ \t]*;[ \t]*charset=\"?utf-8\"?)?[ \t]*;[ \t]*boundary="
    r"(?:([0-9A-Za-z'+_.-]{1,70})|\"([0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-])\")"
    r"(?:[ \t]*;[ \t]*charset=\"?utf-8\"?)?[ \t]*",
    re.IGNORECASE,
)
_DISPOSITION = re.compile(
    rb"form-data[ \t]*;[ \t]*name=(?:\"([\w.\[\]-]{1,128})\"|([\w.\[\]-]{1,128}))"
    rb"((?:[ \t]*;[ \t]*filename\*?=(?:\"(?:[^\"\\\r\n]|\\.)*\"|[^\s;\"]+)){0,2})[ \t]*",
    re.IGNORECASE,
)
_PLAIN_ENCODINGS = (b"7bit", b"8bit", b"binary")
_UNREADABLE = "The form cannot be read: {}."


@dataclass(frozen=True, slots=True)
class FormRequest:
    """A request's bytes, and what routing needs of them. The same to others as a `ModelRequest`."""

    model: str
    is_stream: bool
    body: bytes
    content_type: str  # of the request, boundary and all
    answers: int  # how many the caller wants: `n`
    prompt_tokens: int  # an estimate
    file_bytes: int  # of all files
    _start: int  # of the model's value in `body`
    _end: int

    @property
    def max_output_tokens(self) -> None:
        """Forms have no such bound."""
        return

    @property
    def content(self) -> bytes:
        """The same for the same form: clients choose a new boundary each time they send it. A copy."""
        return self.body.replace(_boundary(self.content_type), b"")

    def for_model(self, name: str) -> bytes:
        """The form with this `model`."""
        if name == self.model:
            return self.body
        return b"%b%b%b" % (self.body[: self._start], name.encode(), self.body[self._end :])


@dataclass(frozen=True, slots=True)
class _Part:
    name: bytes
    is_file: bool
    is_plain: bool  # its bytes are its value
    start: int
    end: int


def is_form(content_type: str) -> bool:
    """Whether a body says that it is a form."""
    return content_type[:20].lower().startswith("multipart/form-data")


def read_form_request(body: bytes, content_type: str) -> FormRequest:
    """Raises BadRequest for a form that cannot be read in one way only, BadField for its fields."""
    parts = _parts(body, _boundary(content_type))
    files = [part.end - part.start for part in parts if part.is_file]
    characters = sum(part.end - part.start for part in parts if not part.is_file)
    model = _only(parts, b"model")
    if model is None:
        raise BadField("model", NO_MODEL)
    if model.is_file or not model.is_plain:
        raise BadField("model", "has to be a plain text field of the form.")
    count = _value(body, _only(parts, b"n"), "n")
    return FormRequest(
        model=_value(body, model, "model"),
        is_stream=_value(body, _only(parts, b"stream"), "stream").lower() == "true",
        body=body,
        content_type=content_type,
        answers=int(count) if re.fullmatch(r"[1-9]\d{0,2}", count) else 1,
        prompt_tokens=-(-characters // 4) + len(files) * BLOB_TOKENS,
        file_bytes=sum(files),
        _start=model.start,
        _end=model.end,
    )


def _boundary(content_type: str) -> bytes:
    found = _CONTENT_TYPE.fullmatch(content_type)
    if found is None:
        raise _unreadable("write `content-type: multipart/form-data; boundary=...`, with nothing else in it")
    return (found[1] or found[2]).encode("ascii")


def _parts(body: bytes, boundary: bytes) -> list[_Part]:
    delimiter = b"--" + boundary
    places = body.count(delimiter)
    if not 2 <= places <= MAX_PARTS + 1:
        raise _unreadable(f"it has no part, no end, or more than {MAX_PARTS} parts")
    if not body.startswith(delimiter):
        raise _unreadable("it does not begin with its boundary")
    parts: list[_Part] = []
    at = len(delimiter)
    for _ in range(places - 1):
        if body[at : at + 2] != b"\r\n":
            raise _unreadable("a boundary does not end its line")
        end = body.find(delimiter, at)
        if body[end - 2 : end] != b"\r\n" or end - 2 < at + 2:
            raise _unreadable("a boundary stands inside a line")
        parts.append(_part(body, at + 2, end - 2))
        at = end + len(delimiter)
    if body[at:] not in (b"--\r\n", b"--"):
        raise _unreadable("it does not end with its boundary")
    return parts


def _part(body: bytes, start: int, end: int) -> _Part:
    head_end = body.find(b"\r\n\r\n", start, min(end, start + MAX_PART_HEAD_BYTES))
    if head_end < 0:
        raise _unreadable(f"a part has no head, or one of more than {MAX_PART_HEAD_BYTES} bytes")
    dispositions: list[bytes] = []
    is_plain = True
    for line in body[start:head_end].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon or not re.fullmatch(rb"[\w-]+", name) or b"\r" in line or b"\n" in line or b"\0" in line:
            raise _unreadable("a part has a line in its head that is no header")
        lowered, value = name.lower(), value.strip(b" \t")
        if lowered == b"content-disposition":
            dispositions.append(value)
        elif lowered == b"content-transfer-encoding":
            is_plain = is_plain and value.lower() in _PLAIN_ENCODINGS
    found = _DISPOSITION.fullmatch(dispositions[0]) if len(dispositions) == 1 else None
    if found is None:
        raise _unreadable("each part has one header `Content-Disposition: form-data; name=...`")
    return _Part(found[1] or found[2], bool(found[3]), is_plain, head_end + 4, end)


def _only(parts: list[_Part], name: bytes) -> _Part | None:
    """The part of that name, however it is capitalised: hosts differ in that too."""
    named = [part for part in parts if part.name.lower() == name]
    if len(named) > 1 or (named and named[0].name != name):
        raise BadField(name.decode(), "has to be there once, in lower case.")
    return named[0] if named else None


def _value(body: bytes, part: _Part | None, field: str) -> str:
    if part is None:
        return ""
    if part.end - part.start > MAX_VALUE_BYTES:
        raise BadField(field, f"has more than {MAX_VALUE_BYTES} bytes.")
    try:
        return body[part.start : part.end].decode()
    except UnicodeDecodeError:
        raise BadField(field, "is no text in UTF-8.") from None


def _unreadable(reason: str) -> BadRequest:
    return BadRequest(_UNREADABLE.format(reason))
