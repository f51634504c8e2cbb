"""Raw calls to hosts: in whose shape the relay answers them itself, which model they name, and what their answers say.

What is read here is for the row and the breakers alone, and never decides what may be called: a raw call is for whom
everything on the host is granted. What cannot be read says nothing; nothing here raises.
"""

import re
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import unquote

import msgspec

from relay_contract.errors import BadRequest
from relay_contract.nouns import WireShape
from relay_contract.usage import Usage
from relay_edge.protocols import anthropic_messages, canonical, openai_chat
from relay_edge.protocols.anthropic_messages.usage import read_usage as read_anthropic_usage
from relay_edge.protocols.form import is_form, read_form_request
from relay_edge.protocols.gemini.usage import read_usage as read_gemini_usage
from relay_edge.protocols.model_name import read_model_request
from relay_edge.protocols.openai_other import MADE, AnswerWatch, read_usage
from relay_edge.protocols.openai_other.watch import Said
from relay_edge.protocols.operation import Operation

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

OPENAI_RAW, ANTHROPIC_RAW = (
    Operation("passthrough", "/passthrough/", surface, methods=METHODS, is_written=False)
    for surface in (openai_chat.SURFACE, anthropic_messages.SURFACE)
)

_GEMINI_PATH = re.compile(r"/(?:models/([^/:]+)|([^:/]+/[^:]+)):(?:generate|streamGenerate|embed|batchEmbed)Contents?")
"""As `gemini/surface.py` writes it: a name, or a whole resource (ai.google.dev/api, read 2026-11)."""


def named_model(method: str, path: str, content_type: str, body: bytes) -> str | None:
    """The host's name of the model that is asked to do something. None where nothing says that one is: what is fetched,
    changed or cancelled was used before, though the answer tells the usage again."""
    if method != "POST":
        return None
    if found := _GEMINI_PATH.fullmatch(path):
        return unquote(found[1] or found[2])
    with suppress(BadRequest):
        if is_form(content_type):
            return read_form_request(body, content_type).model
        if "json" in content_type.lower():
            return read_model_request(body).model
    return None


class _RawSaid(Said, gc=False):
    model: Any = None
    response: Any = None  # in events of a Responses stream
    message: Any = None  # in the first event of Anthropic's
    usageMetadata: Any = None  # noqa: N815  # Gemini's
    modelVersion: Any = None  # noqa: N815


def _read_anything(usage: Any, meta: Any, _duration: Any) -> Usage | None:
    """A `duration` may be that of anything."""
    return read_usage(usage, meta)


class RawWatch(AnswerWatch):
    """Any vendor's answer. One for each try; see StreamWatch."""

    __slots__ = ("_so_far", "model")

    _decode = staticmethod(msgspec.json.Decoder(_RawSaid).decode)

    def __init__(self, shape: WireShape, path: str) -> None:
        """`shape`: which the host speaks otherwise. `path`: below its base URL."""
        super().__init__(partial(read_usage, made=MADE[path]) if path in MADE else _read_anything)
        self._so_far = canonical.Usage() if shape is WireShape.ANTHROPIC_MESSAGES else None
        self.model = ""
        """The host's name of the model that answered; "" where it does not say."""

    def _hear(self, said: Said) -> None:
        assert isinstance(said, _RawSaid)
        inner = next((each for each in (said.response, said.message) if isinstance(each, dict)), {})
        self._found = self._usage(said, said.usage or inner.get("usage")) or self._found
        model = said.model or said.modelVersion or inner.get("model")
        if isinstance(model, str):
            self.model = model

    def _usage(self, said: _RawSaid, usage: Any) -> Usage | None:
        if said.usageMetadata is not None:
            return read_gemini_usage(said.usageMetadata).meters()
        if self._so_far is None:
            return self._reader(usage, said.meta, said.duration)
        self._so_far = self._so_far.updated(read_anthropic_usage(usage, self._so_far))
        return self._so_far.meters()
