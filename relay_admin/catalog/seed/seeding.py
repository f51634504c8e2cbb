"""Compares what vendors offer with the catalog, and writes the difference in a few statements.

A row that people made is never touched, a field that an operator changed stays, and a row that was seeded once and
deleted since is not made again. Nothing is ever deleted. `is_enabled`, priorities, weights and deadlines are filled in
when a row is made and are an operator's from then on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, models, transaction
from django.utils import timezone

from relay_admin.catalog.models import SeededName, SeededRow
from relay_admin.catalog.plan import APPLY_LOCK
from relay_admin.catalog.sections import SECTIONS, Kind, Path, Rows, Section, kind, load_rows, refers, values_of
from relay_admin.catalog.seed.data import Wanted
from relay_admin.catalog.seed.overlay import Overlay, differences, lay_over

_BATCH = 500
_NEEDED = ("prices", "hosts", "models", "aliases", "bindings")


@dataclass(slots=True)
class SectionPlan:
    """What happens to one section, by path."""

    created: dict[Path, dict[str, Any]] = field(default_factory=dict)
    changed: dict[Path, Overlay] = field(default_factory=dict)
    kept: dict[Path, tuple[str, ...]] = field(default_factory=dict)  # fields that an operator changed
    people_s: list[Path] = field(default_factory=list)  # rows of this name that people made
    deleted: list[Path] = field(default_factory=list)  # seeded once, gone since
    retold: list[Path] = field(default_factory=list)  # rows whose template is not what would be seeded now
    unchanged: int = 0

    def __bool__(self) -> bool:
        return bool(self.created or self.changed or self.retold)


@dataclass(slots=True)
class SeedPlan:
    """What a seed would do. True when it would write anything."""

    wanted: Wanted
    sections: dict[str, SectionPlan]

    def __bool__(self) -> bool:
        return any(self.sections.values())


def make(wanted: Wanted, *, restore: bool = False) -> SeedPlan:
    """Compare with the database. `restore`: make rows again that operators deleted."""
    return _make(wanted, load_rows(_NEEDED), restore=restore)


def apply(wanted: Wanted, *, is_enabled: bool = True, restore: bool = False) -> SeedPlan:
    """Write what `make` shows, in one transaction, and return it. One seed or document is applied at a time."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(APPLY_LOCK)
        rows = load_rows(_NEEDED)
        plan = _make(wanted, rows, restore=restore)
        for name, part in plan.sections.items():
            _write(SECTIONS[name], part, wanted[name], rows, is_enabled=is_enabled)
        _remember(plan)
        return plan


def template_differences(row: SeededRow) -> dict[str, tuple[Any, Any]]:
    """Fields that differ from what was last seeded -> (here, seeded). Empty for a row that people made."""
    return differences(values_of(_section(row), row), row.template) if row.template else {}


@transaction.atomic
def template_restore(*, row: SeededRow) -> tuple[str, ...]:
    """Give a row the values back that were last seeded; returns the fields that changed."""
    changed = template_differences(row)
    section = _section(row)
    rows = load_rows(("prices",))
    columns = {name.partition(".")[0] for name in changed}
    _fill(section, row, {name: row.template[name] for name in columns}, rows)
    row.full_clean()
    row.save(update_fields=[*columns, "updated_at"])
    return tuple(changed)


def _section(row: models.Model) -> Section:
    return next(section for section in SECTIONS.values() if section.model is type(row))


def _make(wanted: Wanted, rows: Rows, *, restore: bool) -> SeedPlan:
    once = set() if restore else set(SeededName.objects.values_list("section", "name"))
    aliases = {path[-1] for path in rows["aliases"]}
    plan = SeedPlan(wanted, {name: SectionPlan() for name in wanted})
    usable: set[tuple[str, Path]] = set()  # rows that a binding may refer to
    for name, part in plan.sections.items():
        for path, values in wanted[name].items():
            if name == "bindings" and not {("models", path[:1]), ("hosts", path[1:2])} <= usable:
                continue  # its model or host was deleted, or the model is people's own
            row = rows[name].get(path)
            if row is None:
                is_gone = (name, _joined(path)) in once
                if is_gone or (name == "models" and path[0] in aliases):
                    (part.deleted if is_gone else part.people_s).append(path)
                    continue
                part.created[path] = values
            else:
                assert isinstance(row, SeededRow)
                if row.template is None:
                    part.people_s.append(path)
                    if name == "models":
                        continue
                else:
                    _compare(part, path, row, SECTIONS[name], values)
            usable.add((name, path))
    _forget_lost_prices(plan, rows)
    return plan


def _compare(part: SectionPlan, path: Path, row: SeededRow, section: Section, values: dict[str, Any]) -> None:
    laid = lay_over(values_of(section, row), row.template, values)
    if laid.kept:
        part.kept[path] = laid.kept
    if laid.changes:
        part.changed[path] = laid
    elif not laid.kept:
        part.unchanged += 1
    if row.template != values:
        part.retold.append(path)


def _forget_lost_prices(plan: SeedPlan, rows: Rows) -> None:
    """A binding is made without a price that an operator deleted."""
    there = {*rows["prices"], *plan.sections["prices"].created}
    bindings = plan.sections["bindings"].created
    for path, values in bindings.items():
        if values["pricing"] is not None and (values["pricing"],) not in there:
            bindings[path] = {**values, "pricing": None}


def _write(
    section: Section, part: SectionPlan, wanted: Mapping[Path, dict[str, Any]], rows: Rows, *, is_enabled: bool
) -> None:
    made = []
    # Looked up one by one, and just read.
    references = [one.name for one in section.model._meta.fields if one.is_relation]
    for path, values in part.created.items():
        row = section.model(template=wanted[path])
        if section.parent:
            setattr(row, section.parent_column, rows[section.parent][path[: -len(section.key)]])
        _fill(section, row, {**dict(zip(section.key, path[-len(section.key) :], strict=True)), **values}, rows)
        if not is_enabled and section.name == "models":
            row.is_enabled = False  # type: ignore[attr-defined]  # a model's
        row.clean_fields(exclude=["template", *references])
        made.append(row)
    section.model._default_manager.bulk_create(made, batch_size=_BATCH)
    rows[section.name] |= dict(zip(part.created, made, strict=True))
    touched = {*part.changed, *part.retold}
    for path in touched:
        row = rows[section.name][path]
        row.template, row.updated_at = wanted[path], timezone.now()  # type: ignore[attr-defined]  # SeededRow's
        if path in part.changed:
            _fill(section, row, part.changed[path].changes, rows)
    columns = sorted({name for each in part.changed.values() for name in each.changes})
    section.model._default_manager.bulk_update(
        [rows[section.name][path] for path in sorted(touched)], ["template", "updated_at", *columns], batch_size=_BATCH
    )


def _fill(section: Section, row: models.Model, values: Mapping[str, Any], rows: Rows) -> None:
    """Columns from values as documents write them; a reference to a row that is gone is none."""
    for name, value in values.items():
        if kind(section, name) is Kind.REFERENCE:
            setattr(row, name, rows[refers(section, name).name].get((value,)))
        else:
            setattr(row, name, value)


def _remember(plan: SeedPlan) -> None:
    names: Iterable[SeededName] = (
        SeededName(section=name, name=_joined(path)) for name, part in plan.sections.items() for path in part.created
    )
    SeededName.objects.bulk_create(names, batch_size=_BATCH, ignore_conflicts=True)


def _joined(path: Path) -> str:
    return " ".join(path)
