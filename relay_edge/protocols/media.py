"""Images and documents inside a request, as both vendors take them. Pure."""

import base64
import re

from relay_contract.errors import BadField
from relay_edge.protocols.canonical import Audio, CacheMark, Document, Inline, Link, Text
from relay_edge.protocols.fields import Fields

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
PDF = "application/pdf"
_SOUNDS = {"wav": "audio/wav", "mp3": "audio/mp3"}

_DATA_URI = re.compile(r"data:([a-z0-9.+-]+/[a-z0-9.+-]+)((?:;[^;,]*)*?);base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


def read_data_uri(uri: str) -> Inline | None:
    """RFC 2397, in base64; parameters before `;base64` are skipped. None for anything else."""
    head = _DATA_URI.match(uri)
    if head is None or not _BASE64.fullmatch(uri, head.end()):
        return None
    media_type = head.group(1).lower()
    return Inline("image/jpeg" if media_type == "image/jpg" else media_type, uri[head.end() :])


def write_data_uri(inline: Inline) -> str:
    """The opposite of `read_data_uri`."""
    return f"data:{inline.media_type};base64,{inline.data}"


def check_image_type(inline: Inline, place: str) -> None:
    """Raises BadField for a type that neither vendor takes."""
    if inline.media_type not in IMAGE_TYPES:
        wanted = ", ".join(sorted(IMAGE_TYPES))
        raise BadField(place, f"is {inline.media_type[:40]}; an image has to be one of {wanted}.")


def read_image(url: str, place: str) -> Inline | Link:
    """A picture as OpenAI's callers write it: an http(s) address or a data URI. Raises BadField."""
    if url[:5].lower() != "data:":
        if not is_web_address(url):
            raise BadField(place, "has to be an http(s) address or a data URI.")
        return Link(url)
    inline = read_data_uri(url)
    if inline is None:
        raise BadField(place, "is not a data URI in base64.")
    check_image_type(inline, place)
    return inline


def is_web_address(url: str) -> bool:
    """Whether it is an http(s) URL, as far as its beginning tells."""
    return url.lower().startswith(("http://", "https://"))


def read_file(data: str, title: str, cache: CacheMark | None, place: str) -> Document:
    """A file as OpenAI's callers write it: a data URI of a PDF or a text. Raises BadField."""
    inline = read_data_uri(data)
    if inline is None:
        raise BadField(place, "is not a data URI in base64.")
    if inline.media_type == PDF:
        return Document(inline, title, cache)
    text = text_of(inline) if inline.media_type.startswith("text/") else None
    if text is None:
        raise BadField(place, "has to be a PDF or plain text in UTF-8.")
    return Document(Text(text), title, cache)


def read_sound(part: Fields) -> Audio:
    """Sound as OpenAI's callers write it. Raises BadField."""
    sound = part.required_object("input_audio")
    media_type = sound.one_of("format", _SOUNDS)
    if media_type is None:
        raise sound.refuse("format", "is missing.")
    found = Audio(Inline(media_type, sound.required_text("data")), part.at("type"))
    sound.done()
    return found


def text_of(inline: Inline) -> str | None:
    """The characters of a text in base64; None when they are not UTF-8."""
    try:
        return base64.b64decode(inline.data, validate=True).decode()
    except ValueError:
        return None
