"""Which conversation a request belongs to, read off its bytes without decoding them. Pure; about 2 us for 4 KB.

What the caller names it by counts first: `prompt_cache_key`, or `user` (OpenAI), `metadata.user_id` (Anthropic). Else
how it begins: the head of the list of messages, and the first one by a user up to its end. A conversation grows at the
end of that list, so all of these stay the same bytes from call to call; a host's prompt cache goes by them too.

This is a guess at a document that nobody has checked. A wrong one costs a cache hit, and leads to no key that the
caller would not reach otherwise.
"""

import re
import zlib

_NAMES = (b'"prompt_cache_key"', b'"user"', b'"user_id"')
_LISTS = (b'"messages"', b'"input"')
_ROLE = b'"role"'

SEARCHED_BYTES = 65_536
"""How far the list of messages, and in it the first user, are looked for."""

MESSAGE_BYTES = 512
"""How much of the first user's message counts, and how far from the messages a name may stand."""

HEAD_BYTES = 256
"""How much of the list's head counts, and of what stands before the first user's role."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_VALUE = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+(" + _STRING + rb")", re.DOTALL)
_STARTS = re.compile(rb'[ \t\r\n]*+:[ \t\r\n]*+[\["]')


def _inside(depth: int) -> bytes:
    """A pattern for what stands in an object, up to the bracket that closes it."""
    inner = rb"|[\[{]" + _inside(depth - 1) + rb"[\]}]" if depth else b""
    return rb'(?:[^"\[\]{}]++|' + _STRING + inner + rb")*+"


_REST_OF_MESSAGE = re.compile(_inside(3), re.DOTALL)


def conversation_key(body: bytes) -> bytes | None:
    """4 bytes that stay the same while a conversation grows. None for a body without one."""
    start = _find_list(body)
    read = _named(body, start) or (_beginning(body, start) if start >= 0 else None)
    return None if read is None else zlib.crc32(read).to_bytes(4, "big")  # a better hash costs 0.6 us and gains nothing


def _find_list(body: bytes) -> int:
    """Where the messages begin, or -1. Behind a few other places that only look like it nobody searches on."""
    for name in _LISTS:
        at = body.find(name, 0, SEARCHED_BYTES)
        for _ in range(3):
            if at < 0:
                break
            if _STARTS.match(body, at + len(name)):
                return at
            at = body.find(name, at + 1, SEARCHED_BYTES)
    return -1


def _named(body: bytes, start: int) -> bytes | None:
    """A name before the messages, or behind the last list of the document, which is the messages or follows them."""
    head = body[: min(start, MESSAGE_BYTES)] if start >= 0 else body[:MESSAGE_BYTES]
    behind = body.rfind(b"]") if start >= 0 else -1
    tail = body[behind : behind + MESSAGE_BYTES] if behind >= 0 else b""
    for part in (head, tail):
        if b'"user' not in part and b'"prompt_' not in part:
            continue
        for name in _NAMES:
            at = part.find(name)
            if at >= 0 and (value := _VALUE.match(part, at + len(name))):
                return value[1]
    return None


def _beginning(body: bytes, start: int) -> bytes:
    """The head of the messages, and the first message of a user. Depends on nothing behind that message."""
    head_end = start + HEAD_BYTES
    user = _find_user(body, start)
    if user < 0:
        return body[start:head_end]
    limit = user + MESSAGE_BYTES
    rest = _REST_OF_MESSAGE.match(body, user, limit)
    # Only a message that ends within the limit is followed by its own bracket there.
    end = rest.end() if rest is not None and body[rest.end() : rest.end() + 1] == b"}" else limit
    if user < head_end:
        return body[start:end]
    return body[start:head_end] + body[max(head_end, user - HEAD_BYTES) : end]


def _find_user(body: bytes, start: int) -> int:
    """Where the role of the first message by a user stands, or -1. Roles are all written with the same spaces."""
    limit = start + SEARCHED_BYTES
    role = body.find(_ROLE, start, limit)
    if role < 0:
        return -1
    after = role + len(_ROLE)
    colon = body[after : body.find(b'"', after, after + 16)]
    return body.find(b'%b%b"user"' % (_ROLE, colon), role, limit)
