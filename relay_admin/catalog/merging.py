"""A document, what was applied last, and what people changed since: which steps of a plan are left. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from relay_admin.catalog import applied
from relay_admin.catalog.applied import Digests, Drift, Place
from relay_admin.catalog.document import DocumentError, Problem
from relay_admin.catalog.sections import Kind, Path, Section, kind, refers

if TYPE_CHECKING:
    from relay_admin.catalog.plan import Step

_DECIDE = "Write it as it is there, or give --overwrite."
Said: TypeAlias = dict[Place, dict[str, Any]]


def merged(
    planned: Sequence["Step"], said: Said, before: Mapping[Place, Digests]
) -> tuple[list["Step"], list[Drift], Said]:
    """The steps without what would undo changes that people made since `before` was applied, those changes, and `said`
    as it is. DocumentError has every field that both changed, and every entry that needs one which people deleted."""
    problems: list[Problem] = []
    drift: list[Drift] = []
    steps = []
    for step in planned:
        known = before.get(step.place)
        if known is None:
            steps.append(step)
        elif step.entry is None:
            steps.append(step)
            problems += _removal_conflicts(step, known)
        elif step.row is None:
            drift.append(Drift(step.section, step.path))
        else:
            problems += _take_drift(step, said[step.place], known, drift)
            steps += [step] if step.fields else []
    deleted = {(one.section.name, one.path) for one in drift if not one.fields}
    problems += [problem for step in steps for problem in _needs_deleted(step, deleted)]
    if problems:
        raise DocumentError(problems)
    return steps, [one for one in drift if _parent(one.section, one.path) not in deleted], said


def _take_drift(step: "Step", said: Mapping[str, Any], known: Digests, drift: list[Drift]) -> Iterator[Problem]:
    """Takes fields out of the step that the row alone changed. Yields those that both changed."""
    assert step.row is not None
    assert step.entry is not None
    there = applied.stored(step.section, step.row)
    kept: dict[str, tuple[str, str]] = {}
    for name, (held, wanted) in list(step.fields.items()):
        if name not in known or name not in there or known[name] == applied.digest(there[name]):
            continue
        if known[name] == applied.digest(said[name]):
            kept[name] = wanted, held
            del step.fields[name]
        else:
            text = f"{name} is {held} since somebody changed it, and {wanted} here. {_DECIDE}"
            yield Problem(step.entry.line_of(name), text)
    if "value" in kept:  # a host key's value is set with the variable that it was read from
        step.fields.pop("value_env", None)
    if kept:
        drift.append(Drift(step.section, step.path, kept))


def _removal_conflicts(step: "Step", known: Digests) -> Iterator[Problem]:
    assert step.row is not None
    there = applied.stored(step.section, step.row)
    if changed := [name for name, value in there.items() if name in known and known[name] != applied.digest(value)]:
        name = f"{step.section.noun} {'/'.join(step.path)}"
        yield Problem(0, f"{name} is not here any more, and somebody changed its {', '.join(changed)}. {_DECIDE}")


def _parent(section: Section, path: Path) -> Place:
    return section.parent, path[: -len(section.key)]


def _needs_deleted(step: "Step", deleted: set[Place]) -> Iterator[Problem]:
    entry, section = step.entry, step.section
    if entry is None or not deleted:
        return
    needs = [_parent(section, step.path)]
    names = section.fields if step.row is None else step.fields
    needs += [
        (refers(section, name).name, (entry.values[name],))
        for name in names
        if name in section.fields and kind(section, name) is Kind.REFERENCE and entry.values[name] is not None
    ]
    for place in needs:
        if place in deleted:
            text = f"{section.noun} {'/'.join(step.path)} needs {'/'.join(place[1])}, which somebody deleted. {_DECIDE}"
            yield Problem(entry.line, text)
