"""Asks a host to say what a stream used, which it otherwise keeps to itself. Pure; 0.6 us.

Source: `stream_options` in platform.openai.com/docs/api-reference/chat/create, read 2026-11.

A host that refuses `stream_options` cannot serve streams of this shape through the relay: without figures a call could
be neither limited nor priced.
"""

import msgspec

from relay_edge.protocols.model_name import ModelRequest

_ASKING = b'{"include_usage":true}'
_options = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OFF = (b"false", b"null")


def request_for(request: ModelRequest, name: str) -> tuple[bytes, bool]:
    """The caller's document as a host that calls the model `name` gets it, and whether usage was asked for that the
    caller did not ask for, so that it has to be kept from them. Raises MalformedJson."""
    if not request.is_stream:
        return request.for_model(name), False
    options = request.stream_options
    if not options or options == b"null":
        return request.with_field(name, "stream_options", _ASKING, is_new=not options), True
    try:
        values = _options.decode(options)
    except msgspec.DecodeError:  # no object: the host will say so
        return request.for_model(name), False
    if bytes(values.get("include_usage", b"false")) not in _OFF:
        return request.for_model(name), False
    values["include_usage"] = msgspec.Raw(b"true")
    return request.with_field(name, "stream_options", msgspec.json.encode(values), is_new=False), True
