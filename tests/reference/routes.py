"""The control API's routes: address and summary as its OpenAPI document has them, and what a caller has to be."""

from collections.abc import Iterator
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import spectacular_settings
from rest_framework.permissions import AllowAny, IsAuthenticated

from relay_admin.access.roles import roles_with
from relay_admin.control_api.admin_tokens import MakesTokens
from relay_admin.control_api.permissions import IsHolder, IsPerson
from relay_admin.control_api.reference.auto_schema import BOOKS
from tests.admin.documented import document

OTHERS = {
    AllowAny: "everybody",
    IsAuthenticated: "who is known",
    IsPerson: "a person",
    IsHolder: "the relay key itself",
    MakesTokens: "a person, of their own; `access.add_admintoken` or a token to make one",
}


def tables() -> str:
    """One for each book of the API."""
    rows = sorted(_rows(), key=lambda row: list(BOOKS.values()).index(row[0]))
    return "\n".join(_table(book, [row for row in rows if row[0] == book]) for book in BOOKS.values())


def _table(book: str, rows: list[tuple[str, ...]]) -> str:
    lines = "".join(f"| {' | '.join(cells)} |\n" for _, *cells in rows)
    return f"## {book}\n\n| call | does | operators need | or, in the project |\n|---|---|---|---|\n{lines}"


def _rows() -> Iterator[tuple[str, ...]]:
    """Book and cells of each operation, by address."""
    generator = SchemaGenerator()
    generator._initialise_endpoints()
    for path, _regex, method, view in generator._get_paths_and_endpoints():
        operation = document()["paths"][path][method.lower()]
        view.request = spectacular_settings.GET_MOCK_REQUEST(method, path, view, None)
        yield (operation["tags"][0], f"`{method} {path}`", operation["summary"], *_callers(view))


def _callers(view: Any) -> tuple[str, str]:
    """What operators need, and who else may."""
    operators: list[str] = []
    others: list[str] = []
    for permission in view.get_permissions():
        if type(permission) in OTHERS:
            operators.append(OTHERS[type(permission)])
            continue
        operators += [f"`{name}`" for name in permission.needed]
        if permission.act_of_members is not None:
            others.append(", ".join(roles_with(permission.act_of_members)))
        if permission.is_for_own:
            others.append("everybody, of their own")
    return ", ".join(operators), "; ".join(others)
