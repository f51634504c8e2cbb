"""Parts of pages that code makes: what stands between two marks. `test_parts.py` compares them with the code;
`python -m tests.reference` writes them anew."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.reference import commands, errors, routes, sdk_python, sdk_typescript, settings, tools

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True, slots=True)
class Part:
    """`page`: below docs/. `name`: what the marks around it say. `make`: its text."""

    page: str
    name: str
    make: Callable[[], str]

    @property
    def text(self) -> str:
        """As it has to stand in the page, its marks included."""
        return f"<!-- {self.name} -->\n{self.make()}<!-- end of {self.name} -->\n"

    def written_into(self, page: str) -> str:
        """The page with this part as the code makes it. ValueError where it has no marks for it."""
        before, begin, rest = page.partition(f"<!-- {self.name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {self.name} -->\n")
        if not (begin and end):
            raise ValueError(f"docs/{self.page} has no place for {self.name}")
        return before + self.text + after


PARTS = (
    Part("mcp.md", "tools", tools.table),
    Part("reference/settings.md", "settings", settings.tables),
    Part("reference/settings.md", "files", settings.from_files),
    Part("reference/errors.md", "errors of the edge", errors.of_the_edge),
    Part("reference/errors.md", "types by status", errors.types_by_status),
    Part("reference/errors.md", "ends of deliveries", errors.ends_of_deliveries),
    Part("reference/errors.md", "faults of attempts", errors.faults_of_attempts),
    Part("reference/api.md", "routes", routes.tables),
    Part("reference/commands.md", "commands", commands.of_manage),
    Part("reference/commands.md", "targets of make", commands.of_make),
    Part("reference/sdk-python.md", "names", sdk_python.page),
    Part("reference/sdk-typescript.md", "names", sdk_typescript.page),
)


def write_all() -> None:
    """Into the pages."""
    for part in PARTS:
        page = DOCS / part.page
        page.write_text(part.written_into(page.read_text(encoding="utf-8")), encoding="utf-8")
