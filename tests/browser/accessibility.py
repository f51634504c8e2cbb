"""What axe finds wrong with a page: WCAG 2.2 at levels A and AA, as far as a program can tell."""

from functools import cache
from typing import Any

from playwright.sync_api import Page

from tests.clients.environments import NODE_HOME, node_clients

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@cache
def _axe() -> str:
    node_clients()
    return (NODE_HOME / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, within: str = "html") -> list[str]:
    """One line for each element that breaks a rule: `rule: element (why)`. `within`: a selector of what to check."""
    page.evaluate(_axe())
    found: dict[str, Any] = page.evaluate(
        "([within, rules]) => axe.run(within, {runOnly: {type: 'tag', values: rules}})", [within, RULES]
    )
    return [
        f"{broken['id']}: {element['html'][:200]} ({element['failureSummary'].splitlines()[-1].strip()})"
        for broken in found["violations"]
        for element in broken["nodes"]
    ]
