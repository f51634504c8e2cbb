"""drf-spectacular's last step: without its own marks, which nobody else reads, and without "either any JSON or null",
which null is twice."""

from typing import Any

_MARK = "x-spec-enum-id"


def without_marks(result: Any, **_context: Any) -> Any:
    """The document, or a part of it."""
    match result:
        case dict():
            kept = {name: without_marks(part) for name, part in result.items() if name != _MARK}
            if isinstance(choices := kept.get("oneOf"), list) and {} in choices:
                del kept["oneOf"]
            return kept
        case list():
            return [without_marks(part) for part in result]
        case _:
            return result
