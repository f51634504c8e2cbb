"""The tree of errors is the one that its file draws."""

from collections.abc import Iterator

from relay_contract import errors
from relay_contract.errors import RelayError

DEPTH = 4
"""Characters that the drawing indents by."""


def drawn(text: str) -> Iterator[tuple[int, str, str]]:
    """Depth, class, and status with code (or "") of each line of a drawing."""
    for line in text.splitlines():
        name = line.lstrip("│├└─ ")
        if name.startswith("RelayError") or name != line:
            words = name.split()
            is_answer = len(words) > 1 and words[1].isdigit()
            yield (len(line) - len(name)) // DEPTH, words[0], " ".join(words[1:3]) if is_answer else ""


def real(error: type[RelayError] = RelayError, depth: int = 0) -> Iterator[tuple[int, str, str]]:
    """The same of the classes."""
    yield depth, error.__name__, f"{error.status} {error.code}" if hasattr(error, "code") else ""
    for below in error.__subclasses__():
        yield from real(below, depth + 1)


def with_parents(tree: Iterator[tuple[int, str, str]]) -> set[tuple[tuple[str, ...], str]]:
    """Each class with everything above it: siblings may stand in any order."""
    above: list[str] = []
    found = set()
    for depth, name, answer in tree:
        above[depth:] = [name]
        found.add((tuple(above), answer))
    return found


def test_the_drawing_can_be_read() -> None:
    drawing = "Words.\n\nRelayError\n├── A   for some\n│   └── B  400 b_b\n└── C   500 c\n\nMore words.\n"
    assert list(drawn(drawing)) == [(0, "RelayError", ""), (1, "A", ""), (2, "B", "400 b_b"), (1, "C", "500 c")]


def test_the_drawing_is_the_tree() -> None:
    assert errors.__doc__ is not None
    assert with_parents(drawn(errors.__doc__)) == with_parents(real())


def test_no_two_errors_share_a_code() -> None:
    codes = [answer.split()[1] for _, _, answer in real() if answer]
    assert len(codes) == len(set(codes))
