"""What a seed did, as text. Pure."""

from collections.abc import Iterable

from relay_admin.catalog.sections import SECTIONS, Path
from relay_admin.catalog.seed.data import Data
from relay_admin.catalog.seed.seeding import SeedPlan

_LISTED = 20


def text(data: Data, plan: SeedPlan, *, is_dry: bool) -> str:
    """One line a section, then the rows that somebody may want to look at."""
    lines = [f"Data: genai-prices {data.version}."]
    for name, part in plan.sections.items():
        counts = {
            "new": len(part.created),
            "changed": len(part.changed),
            "kept as you changed them": len(part.kept),
            "made by people, left alone": len(part.people_s),
            "deleted by you, left out": len(part.deleted),
            "as they were": part.unchanged,
        }
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        lines.append(f"{name}: {said or 'nothing to seed'}.")
    for name, part in plan.sections.items():
        noun = SECTIONS[name].noun
        lines += _some(f"~ {noun}", ((path, laid.taken) for path, laid in part.changed.items()))
        lines += _some(f"= {noun}", part.kept.items(), " stays yours")
        lines += _some(f"! {noun}", ((path, ()) for path in part.people_s), " was made by people")
        lines += _some(f"- {noun}", ((path, ()) for path in part.deleted), " was deleted; --restore makes it again")
    if data.unnamed:
        lines.append(f"{len(data.unnamed)} models have names that no caller could write, such as {data.unnamed[0]}.")
    if is_dry:
        lines.append("Nothing was changed: this was a dry run.")
    elif not plan:
        lines.append("Nothing changed.")
    return "\n".join(lines)


def _some(head: str, rows: Iterable[tuple[Path, tuple[str, ...]]], tail: str = "") -> list[str]:
    """The first few, and how many more."""
    shown = [f"{head} {'/'.join(path)}{': ' if fields else ''}{', '.join(fields)}{tail}" for path, fields in rows]
    more = [f"{head} … and {len(shown) - _LISTED} more"] if len(shown) > _LISTED else []
    return [*shown[:_LISTED], *more]
