"""Names of operations, from methods and addresses: `GET /api/v1/relay-keys` is `listRelayKeys`."""

import re

_VERBS = {"PUT": "replace", "PATCH": "change", "DELETE": "delete"}


def operation_name(method: str, path: str) -> str:
    """One that stays the same as long as the address does. What is posted to is a list, which gets one more, or a word
    that says what is done."""
    parts = [part for part in re.sub(r"^/?(api/v\d+|auth)/", "", path).split("/") if part]
    words = [part.partition(".")[0] for part in parts if not part.startswith("{")] or ["export"]
    *before, last = words
    is_of_one = parts[-1].startswith("{")
    owners = "".join(_title(_one(word)) for word in before)
    if method == "POST" and not is_of_one:
        return f"create{owners}{_title(_one(last))}" if last.endswith("s") else _lower(_title(last)) + owners
    if method == "GET" and last.endswith("s") and not is_of_one:
        return f"list{owners}{_title(last)}"
    verb = "get" if method == "GET" else _VERBS.get(method, "do")
    return f"{verb}{owners}{_title(_one(last) if is_of_one else last)}"


def words_of(name: str) -> str:
    """`listRelayKeys` -> `List relay keys`."""
    first, *rest = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return " ".join([first.capitalize(), *(word.lower() for word in rest)])


def _one(word: str) -> str:
    return re.sub(r"(?<=as)es$|s$", "", re.sub(r"ies$", "y", word))


def _title(word: str) -> str:
    return "".join(part.capitalize() for part in word.split("-"))


def _lower(word: str) -> str:
    return word[:1].lower() + word[1:]
