"""What a view answers, written beside it. `reference/` makes the API's OpenAPI document of it, and the tests hold every
answer that they get against that. Costs nothing when a call is served."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

Shape: TypeAlias = Any
"""A serializer's class, a TypedDict, a dataclass or another type of Python, a union of them, `Page`, `Rows`, `Also` or
`Text`. A function: of the view's class, for handlers that several views share. None: no body."""

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list: `{"results": [...], "next": ... or null}`. `next`: the type of the place where it goes on."""

    of: Shape
    next: Shape = int


@dataclass(frozen=True, slots=True)
class Rows:
    """A list that has no pages, under this name."""

    of: Shape
    name: str = "results"


@dataclass(frozen=True, slots=True)
class Also:
    """A shape with fields beside its own. `name`: what generated clients call it."""

    name: str
    of: Shape
    fields: Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class Text:
    """No JSON, or not only: each media type with its shape."""

    media_types: Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class Answers:
    """What `answers` was told."""

    by_status: Mapping[int, Shape]
    refuses: tuple[int, ...] = ()
    name: str = ""
    path: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def answers(
    shape: Shape = None,
    *,
    refuses: tuple[int, ...] = (),
    name: str = "",
    path: Mapping[str, tuple[str, ...]] | None = None,
) -> Callable[[Handler], Handler]:
    """Says what a handler answers: a shape that comes with 200, or a dict of status to shape; without one it is 204.

    `refuses`: statuses of errors beside those that follow from what a handler reads and who may call it. `name`: of the
    operation, where the address does not tell a good one. `path`: the words that a part of the address may be.
    """
    by_status = shape if isinstance(shape, dict) else {204 if shape is None else 200: shape}

    def described(handler: Handler) -> Handler:
        handler.answers = Answers(by_status, refuses, name, path or {})  # type: ignore[attr-defined]  # read by `told`
        return handler

    return described


def told(handler: Callable[..., Any]) -> Answers | None:
    """What a handler answers; None where nobody said."""
    return getattr(handler, "answers", None)
