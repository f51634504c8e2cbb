"""What a host's error text may not tell a caller: keys, accounts and addresses of the operator. Pure."""

import re

MAX_LENGTH = 2_000

_PRIVATE = re.compile(
    r"\b(?:sk|pk|rk|key)[-_][A-Za-z0-9_*.-]{6,}"
    r"|\bBearer [A-Za-z0-9_*.-]{6,}"
    r"|\b(?:org|proj|user|acct|ws|wrkspc)[-_](?=[A-Za-z]*\d)[A-Za-z0-9]{6,}"  # a digit: `user_message` is a word
    r"|\bhttps?://\S+"
    r"|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"
)


def scrubbed(text: str) -> str:
    """The text without them, in one piece of bounded length."""
    return _PRIVATE.sub("[...]", text[:MAX_LENGTH])
