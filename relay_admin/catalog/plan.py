"""What a document would change, and changing it. `make` reads, `apply` writes in one transaction or not at all.

A field that a document leaves out has its default; a part that it leaves out is not looked at; secrets that it leaves
out stay as they are, and new ones are made where that is possible. What people changed since a document was applied is
shown and not overwritten, unless that is asked for (`merging.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models, transaction
from django.db.models import ProtectedError, RestrictedError

from relay_admin.access import services as access_services
from relay_admin.access.models import RelayKey, User
from relay_admin.catalog import applied, merging, prices, rules, services, target_credentials
from relay_admin.catalog.applied import Drift, Place
from relay_admin.catalog.document import Document, DocumentError, Entry, Problem
from relay_admin.catalog.lines import revisions
from relay_admin.catalog.models import Endpoint, HostKey, Line, Model, ModelAlias, Target
from relay_admin.catalog.sections import (
    REVOKE_INSTEAD_OF_DELETE,
    SECTIONS,
    Kind,
    Path,
    Rows,
    Section,
    children,
    is_same,
    kind,
    load_rows,
    refers,
    values_of,
)
from relay_admin.catalog.written_secrets import WRITTEN_SECRETS
from relay_contract import tokens
from relay_contract.nouns import OFFERED_MODES, TargetRole

APPLY_LOCK = "SELECT pg_advisory_xact_lock(hashtext('relay catalog apply'))"
IN_LINES = ("lines", "endpoints", "targets")
"""Parts whose entries are configuration of a line."""
_MAX_SHOWN = 80
_ADVICE = "Take this over into the document, or give --overwrite to undo it."
_OF_SIGNATURES = {"auth", "is_enabled"}
_CREDENTIALS = {"auth_kind", "client_certificate", "auth secret", "client key"}


@dataclass(slots=True)
class Step:
    """One line of a plan: `entry` without `row` creates, with it changes `fields`; `row` alone removes."""

    section: Section
    path: Path
    entry: Entry | None = None
    row: models.Model | None = None
    fields: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> old and new, as shown
    secrets: dict[str, str] = field(default_factory=dict, repr=False)  # values to set, by the field that names them

    @property
    def place(self) -> Place:
        """Where it is in a document."""
        return self.section.name, self.path

    def __str__(self) -> str:
        name = f"{self.section.noun} {'/'.join(self.path)}"
        if self.entry is None:
            return f"- {name}{' (revoked)' if self.section.name == REVOKE_INSTEAD_OF_DELETE else ''}"
        if self.row is None:
            return f"+ {name}"
        return "\n".join([f"~ {name}", *(f"    {one}: {old} -> {new}" for one, (old, new) in self.fields.items())])


@dataclass(slots=True)
class Plan:
    """Steps in the order in which they are applied. Shown as `str(plan)`; it holds no secret in that form. `said`: of
    each entry what the document says, by the fields that are compared. `drift` is left as it is."""

    steps: list[Step]
    drift: list[Drift] = field(default_factory=list)
    said: dict[Place, dict[str, Any]] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.drift), *([_ADVICE, ""] if self.drift else []), self._changes()])

    def _changes(self) -> str:
        if not self.steps:
            return "No changes." if self.drift else "No changes: the catalog is as the document says."
        created = sum(step.row is None for step in self.steps)
        removed = sum(step.entry is None for step in self.steps)
        changed = len(self.steps) - created - removed
        total = f"{created} to create, {changed} to change, {removed} to delete."
        return "\n".join([*map(str, self.steps), "", total])


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A relay key that the document left to be minted. To be shown once."""

    path: Path
    token: str = field(repr=False)


def make(document: Document, environment: Mapping[str, str], *, prune: bool = False, overwrite: bool = False) -> Plan:
    """Compare with the database. `environment` is where secrets are looked up; `overwrite` undoes what people changed
    since. DocumentError has every problem."""
    return _make(load_rows(), document, environment, prune=prune, overwrite=overwrite)


def _make(rows: Rows, document: Document, environment: Mapping[str, str], *, prune: bool, overwrite: bool) -> Plan:
    plan = _keeping_disabled(_Planner(rows, environment, prune=prune).plan(document))
    return plan if overwrite else Plan(*merging.merged(plan.steps, plan.said, applied.load()))


def validate(document: Document) -> None:
    """Check what needs neither a database nor secrets: what the document leaves out is taken to be there. Raises
    DocumentError."""
    _Planner({name: {} for name in SECTIONS}, {}, prune=False).validate(document)


def apply(
    document: Document,
    environment: Mapping[str, str],
    expected: Plan,
    *,
    prune: bool = False,
    overwrite: bool = False,
    remembers: bool = True,
) -> list[MintedToken]:
    """Do what `expected` shows. DocumentError when a row refuses or the catalog has changed since. `remembers`: the
    document is one that is applied again and again; else what it changes are changes by people.

    One apply runs at a time: a second one waits for the first. The lines that it may write are locked before it looks,
    so that what is published meanwhile is either seen here or comes after.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(APPLY_LOCK)
        revisions.hold(Line.objects.all() if prune else revisions.lines_at(_lines_of(document)))
        rows = load_rows()
        plan = _make(rows, document, environment, prune=prune, overwrite=overwrite)
        if str(plan) != str(expected):
            raise DocumentError([Problem(0, "The catalog changed since the plan was made. Run the command again.")])
        lines = {step.path[:2] for step in plan.steps if step.section.name in IN_LINES}
        revisions.lock(revisions.lines_at(lines))
        minted = _Writer(rows).write(plan)
        for line in revisions.lines_at(lines):
            revisions.revision_take(line=line, by=None, source="import")
        if remembers:
            removed = {step.place for step in plan.steps if step.entry is None}
            applied.remember(plan.said, {(name, path) for name, found in rows.items() for path in found} - removed)
        return minted


def _lines_of(document: Document) -> set[Path]:
    return {entry.path for entry in _all_entries(document) if entry.section.name == "lines"}


def make_of(rows: Rows, document: Document) -> Plan:
    """Compare with these rows alone, which `document` describes as a whole. DocumentError has every problem."""
    return _Planner(rows, {}, prune=True).plan(document)


def write(rows: Rows, plan: Plan) -> None:
    """Do what a plan of these rows says, in the caller's transaction. Raises DocumentError."""
    _Writer(rows).write(plan)


def would_enable(step: Step) -> bool:
    """Whether it would enable a target that the relay disabled, and no operator."""
    row = step.row
    return isinstance(row, Target) and "is_enabled" in step.fields and bool(row.gone_at or row.disabled_reason)


def _keeping_disabled(plan: Plan) -> Plan:
    """Such targets stay disabled: a document that is applied again and again must not send to one that is gone."""
    for step in plan.steps:
        if would_enable(step):
            del step.fields["is_enabled"]
    return Plan([step for step in plan.steps if step.entry is None or step.row is None or step.fields], [], plan.said)


def _all_entries(document: Document) -> Iterator[Entry]:
    """In the order of the sections, so that what is referred to comes first."""
    found: dict[str, list[Entry]] = {name: [] for name in SECTIONS}

    def walk(entries: list[Entry]) -> None:
        for entry in entries:
            found[entry.section.name].append(entry)
            for nested in entry.children.values():
                walk(nested)

    for entries in document.parts.values():
        walk(entries)
    for entries in found.values():
        yield from entries


class _Planner:
    def __init__(self, rows: Rows, environment: Mapping[str, str], *, prune: bool) -> None:
        self.rows = rows
        self.environment = environment
        self.prune = prune
        self.problems: list[Problem] = []
        self.incomplete: set[str] = set()
        self.named: set[tuple[str, Path]] = set()
        self.tokens: dict[str, Entry] = {}
        self.usernames: set[str] = set()
        self.said: dict[Place, dict[str, Any]] = {}

    def plan(self, document: Document) -> Plan:
        self.problems = [*document.problems]
        self.incomplete = document.incomplete
        entries = list(_all_entries(document))
        removals = list(self.removals(document)) if self.prune else []
        removed = {(step.section.name, step.path) for step in removals}
        named_users = {entry.values.get("user") for entry in entries if entry.section.model is RelayKey} - {None}
        self.usernames = set(User.objects.filter(username__in=named_users).values_list("username", flat=True))
        self.named = {(entry.section.name, entry.path) for entry in entries} | {
            (name, path) for name, rows in self.rows.items() for path in rows if (name, path) not in removed
        }
        revoked = self.revoked_keys() if any(entry.section.model is RelayKey for entry in entries) else set()
        steps = []
        for entry in entries:
            if entry.path in revoked and entry.section.model is RelayKey:
                self.refuse(entry, "name", "A key of this name was revoked, and that is for good. Choose another name.")
                continue
            self.check(entry)
            if step := self.step(entry):
                steps.append(step)
        self.check_names(entries, removed)
        self.check_targets(entries, removed)
        if self.problems:
            raise DocumentError(self.problems)
        # A name goes before it is given to another model, and a target before another may answer in its place;
        # everything else goes after what refers to it. A shadow comes after what it is compared with.
        first = [step for step in removals if step.section.model in (Model, ModelAlias, Target)]
        steps.sort(key=lambda step: (not _stops_answering(step), _is_shadow(step)))
        return Plan([*first, *steps, *(step for step in removals if step not in first)], [], self.said)

    def validate(self, document: Document) -> None:
        self.problems = [*document.problems]
        entries = list(_all_entries(document))
        for entry in entries:
            self.check_columns(entry)
        self.check_names(entries, set())
        self.check_targets(entries, set())
        if self.problems:
            raise DocumentError(self.problems)

    def refuse(self, entry: Entry, name: str, text: str) -> None:
        self.problems.append(Problem(entry.line_of(name), text))

    def revoked_keys(self) -> set[Path]:
        found = RelayKey.objects.exclude(revoked_at=None).order_by().values_list("project__slug", "name")
        return set(found)

    def check_names(self, entries: list[Entry], removed: set[tuple[str, Path]]) -> None:
        """A name stands for one model: two models cannot share an alias, and none may be hidden by a model's name."""
        stored = {
            path[1]: path[0] for path in self.rows["aliases"] if not {("aliases", path), ("models", path[:1])} & removed
        }
        holders = dict(stored)
        names = {path[0] for path in self.rows["models"] if ("models", path) not in removed}
        names |= {entry.path[0] for entry in entries if entry.section.model is Model}
        for entry in entries:
            if entry.section.model is ModelAlias:
                model, name = entry.path
                if name in names:
                    self.refuse(entry, "name", f"{name!r} is the name of a model: an alias of it would never count.")
                elif holders.setdefault(name, model) != model:
                    self.refuse(entry, "name", f"The alias {name!r} belongs to model {holders[name]!r} already.")
            elif entry.section.model is Model and (holder := stored.get(entry.path[0])):
                self.refuse(
                    entry, "name", f"{entry.path[0]!r} is an alias of model {holder!r}: take it out there first."
                )

    def check(self, entry: Entry) -> None:
        """References and the model's own rules, each complained about on its line."""
        self.check_references(entry)
        self.check_columns(entry)

    def check_columns(self, entry: Entry) -> None:
        columns = _own_columns(entry)
        row = entry.section.model(**columns)
        others = {one.name for one in entry.section.model._meta.fields} - set(columns)
        try:
            row.clean_fields(exclude=others)
        except ValidationError as error:
            for name, messages in error.message_dict.items():
                self.refuse(entry, name, f"{name}: {' '.join(messages)}")
        else:
            if isinstance(row, Endpoint) and not entry.unreadable:
                self.refuse_all(entry, rules.endpoint_refusals(row))

    def check_references(self, entry: Entry) -> None:
        section = entry.section
        for name, value in entry.values.items():
            if name in entry.unreadable or value is None:
                continue
            if kind(section, name) is Kind.USER and value not in self.usernames:
                self.refuse(entry, name, f"There is no user {value!r}. People are made in the admin.")
            if kind(section, name) is Kind.REFERENCE and not self.is_named(refers(section, name), value):
                self.refuse(entry, name, f"There is no {refers(section, name).noun} {value!r}, here or in the catalog.")

    def refuse_all(self, entry: Entry, refusals: Mapping[str, str]) -> None:
        for name, text in refusals.items():
            self.refuse(entry, name, f"{name}: {text}")

    def check_targets(self, entries: list[Entry], removed: set[tuple[str, Path]]) -> None:
        """What the targets of one endpoint ask of each other, once each of them could be read."""
        if self.problems:
            return
        written = {entry.path: entry for entry in entries if entry.section.model is Target}
        endpoints: dict[Path, dict[Path, Target]] = {path[:-1]: {} for path in written}
        for path, row in self.rows["targets"].items():
            if path[:-1] in endpoints and ("targets", path) not in removed and isinstance(row, Target):
                endpoints[path[:-1]][path] = row
        for path, entry in written.items():
            endpoints[path[:-1]][path] = Target(**_own_columns(entry))
        for path, entry in written.items():
            siblings = endpoints[path[:-1]]
            target = siblings[path]
            others = [one for other, one in siblings.items() if other != path]
            self.refuse_all(entry, rules.target_refusals(target, others))
            if target.delivery_mode not in OFFERED_MODES:
                self.refuse(entry, "delivery_mode", f"delivery_mode is one of {', '.join(OFFERED_MODES)}.")
            if rules.is_response(target) and any(map(rules.is_response, others)):
                self.refuse(entry, "delivery_mode", "Another enabled target of the endpoint answers its callers too.")

    def is_named(self, section: Section, name: str) -> bool:
        return section.name in self.incomplete or (section.name, (name,)) in self.named

    def step(self, entry: Entry) -> Step | None:
        row = self.rows[entry.section.name].get(entry.path)
        step = Step(entry.section, entry.path, entry, row)
        step.secrets = self.secrets(entry)
        self.said[step.place] = _said(entry, step.secrets)
        if row is None:
            if entry.section.model is HostKey and self.is_without_value(entry):
                advice = "`value_env`, the variable that holds its value, or a `reference` to where it is kept"
                self.refuse(entry, "value_env", f"A new host key needs {advice}.")
            self.check_credentials(step, entry)
            self.check_signature_secret(step, entry)
            return step
        for name, old in values_of(entry.section, row).items():
            if not is_same(kind(entry.section, name), old, entry.values[name]):
                step.fields[name] = _shown(entry.section, name, old), _shown(entry.section, name, entry.values[name])
        if isinstance(row, HostKey) and not row.sealed_value and self.is_without_value(entry):
            self.refuse(entry, "reference", "The key has no value without its `reference`: name one in `value_env`.")
        self.compare_secrets(entry, row, step)
        self.check_credentials(step, entry)
        self.check_signature_secret(step, entry)
        return step if step.fields else None

    def is_without_value(self, entry: Entry) -> bool:
        is_readable = not entry.unreadable & {"value_env", "reference"}
        return is_readable and "value_env" not in entry.secret_envs and not entry.values["reference"]

    def secrets(self, entry: Entry) -> dict[str, str]:
        """The values of the variables that the entry names, checked."""
        found = {name: self.secret(entry, name, variable) for name, variable in entry.secret_envs.items()}
        return {name: value for name, value in found.items() if value is not None}

    def secret(self, entry: Entry, name: str, variable: str) -> str | None:
        try:
            value = self.environment.get(variable, "")
        except (OSError, ValueError):  # of the file that NAME_FILE names
            self.refuse(entry, name, f"The file that {variable}_FILE names cannot be read.")
            return None
        if not value:
            self.refuse(entry, name, f"The environment variable {variable} is not set.")
            return None
        try:
            return self.clean_secret(entry, name, value)
        except ValidationError as error:
            self.refuse(entry, name, f"{variable}: {' '.join(error.messages)}")
            return None

    def clean_secret(self, entry: Entry, name: str, value: str) -> str:
        if name == "signature_secret_env":  # what is one depends on whose signature it checks
            return services.signature_secret_clean(entry.values["signature_preset"], value)
        if name in WRITTEN_SECRETS:
            return WRITTEN_SECRETS[name].clean(value)
        if entry.section.model is HostKey:
            return services.host_key_value_clean(value)
        token = value.strip()
        mode = access_services.relay_key_token_parse(token).mode
        if mode != entry.values["mode"]:
            raise ValidationError(f"This is a {mode} key and the entry says {entry.values['mode']}.")
        if (other := self.tokens.setdefault(token, entry)) is not entry:
            raise ValidationError(f"The key on line {other.line} has the same token.")
        return token

    def compare_secrets(self, entry: Entry, row: models.Model, step: Step) -> None:
        for name, written in step.secrets.items():
            if name in WRITTEN_SECRETS and not WRITTEN_SECRETS[name].is_kept(row, written):
                step.fields[entry.section.secret_envs[name]] = "(secret)", "(secret)"
        match row:
            case HostKey() if (value := step.secrets.get("value_env")) is not None:
                fingerprint, variable = services.fingerprint(value), entry.secret_envs["value_env"]
                if row.value_env != variable:
                    step.fields["value_env"] = _quoted(row.value_env), _quoted(variable)
                if row.value_fingerprint != fingerprint or not services.host_key_opens(host_key=row):
                    step.fields["value"] = f"fingerprint {row.value_fingerprint}", f"fingerprint {fingerprint}"
            case RelayKey():
                token = step.secrets.get("token_env")
                if token is not None and bytes(row.token_hash) != tokens.hash_token(token):
                    step.fields["token"] = tokens_shown(row.mode, row.key_id), tokens.display(token)
                elif "mode" in step.fields and "token_env" not in entry.secret_envs:
                    self.refuse(entry, "mode", "A key keeps its mode: it is part of its token. Write a new key.")

    def check_credentials(self, step: Step, entry: Entry) -> None:
        """What a target shows beside its signature has its secret, and a certificate its key. A certificate that has
        expired since it was written is no reason to refuse what else a document changes."""
        if entry.section.model is not Target or entry.unreadable or self.problems:
            return
        if step.row is not None and not _CREDENTIALS & set(step.fields):
            return
        target = Target(**_own_columns(entry))
        if isinstance(step.row, Target):
            target.pk = step.row.pk
            target.sealed_auth_secret, target.sealed_client_key = (
                step.row.sealed_auth_secret,
                step.row.sealed_client_key,
            )
        new = {name: step.secrets.get(f"{name}_env", "") for name in ("auth_secret", "client_key")}
        if entry.secret_envs.keys() - step.secrets.keys():
            return
        for name, text in target_credentials.refusals(target, **new).items():
            field_name = f"{name}_env" if name in new else name
            self.refuse(entry, field_name, f"{field_name}: {text}")

    def check_signature_secret(self, step: Step, entry: Entry) -> None:
        """An endpoint that is to check signatures has what it checks them by. One that was without before is no reason
        to refuse what else a document changes."""
        if entry.section.model is not Endpoint or entry.unreadable or "signature_secret_env" in entry.secret_envs:
            return
        if isinstance(step.row, Endpoint) and not _OF_SIGNATURES & set(step.fields):
            return
        has_secret = isinstance(step.row, Endpoint) and bool(step.row.sealed_signature_secret)
        self.refuse_all(entry, rules.signature_secret_refusals(Endpoint(**_own_columns(entry)), has_secret=has_secret))

    def removals(self, document: Document) -> Iterator[Step]:
        """Rows of the parts that the document gives and does not name. Children go with their parents."""
        removed: list[Step] = []

        def part(section: Section, parent: Path, entries: list[Entry]) -> None:
            kept = {entry.path for entry in entries}
            for path, row in self.rows[section.name].items():
                if path[: len(parent)] == parent and path not in kept:
                    removed.append(Step(section, path, row=row))
            below(section, entries)

        def below(section: Section, entries: list[Entry]) -> None:
            for entry in entries:
                for child in children(section):
                    if child.name in entry.children:
                        part(child, entry.path, entry.children[child.name])

        for name, entries in document.parts.items():
            if SECTIONS[name].parent:
                below(SECTIONS[name], entries)  # some entries of a part, whose siblings are nobody's business
            else:
                part(SECTIONS[name], (), entries)
        # What others refer to goes last.
        order = list(SECTIONS)
        removed.sort(key=lambda step: (-order.index(step.section.name), step.path))
        yield from removed


def _stops_answering(step: Step) -> bool:
    """Whether a target of it answered callers and does so no more."""
    if step.entry is None or not isinstance(step.row, Target) or not rules.is_response(step.row):
        return False
    return not rules.is_response(Target(**_own_columns(step.entry)))


def _is_shadow(step: Step) -> bool:
    return step.entry is not None and step.entry.values.get("role") == TargetRole.SHADOW


def _own_columns(entry: Entry) -> dict[str, Any]:
    """The values that are no references."""
    return {
        name: value
        for name, value in entry.values.items()
        if name not in entry.unreadable and kind(entry.section, name) not in (Kind.REFERENCE, Kind.USER)
    }


def _said(entry: Entry, secrets: Mapping[str, str]) -> dict[str, Any]:
    """What the document says, by the same fields as `applied.stored`; without secrets that it leaves as they are."""
    said = dict(entry.values)
    if entry.section.model is HostKey and "value_env" in secrets:
        said |= {"value_env": entry.secret_envs["value_env"], "value": services.fingerprint(secrets["value_env"])}
    if entry.section.model is RelayKey and "token_env" in secrets:
        said["token"] = tokens.hash_token(secrets["token_env"]).hex()
    return said


def tokens_shown(mode: str, key_id: str) -> str:
    """What may be shown of a stored relay key."""
    return f"rk_{mode}_{key_id}…"


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _shown(section: Section, name: str, value: Any) -> str:
    if value is None:
        return "none"
    if kind(section, name) is Kind.HEADERS:
        return f"[{', '.join(sorted(value))}]"  # names only: a header's value is often a credential
    if kind(section, name) is Kind.RATES:
        return prices.in_words(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return _quoted(value)


class _Writer:
    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.minted: list[MintedToken] = []

    def write(self, plan: Plan) -> list[MintedToken]:
        for step in plan.steps:
            try:
                # A savepoint, so that a refused row leaves the connection able to say who holds it.
                with transaction.atomic():
                    self.one(step)
            except ValidationError as error:
                line = step.entry.line if step.entry else 0
                raise DocumentError([Problem(line, f"{step.section.noun}: {' '.join(error.messages)}")]) from error
            except (ProtectedError, RestrictedError) as error:
                holders = error.protected_objects if isinstance(error, ProtectedError) else error.restricted_objects
                names = ", ".join(sorted(f"{one._meta.verbose_name} {one}" for one in holders)[:5])
                text = f"{step.section.noun} {'/'.join(step.path)} cannot be deleted: it is used by {names}."
                raise DocumentError([Problem(0, text)]) from error
            except IntegrityError as error:
                line = step.entry.line if step.entry else 0
                text = f"{step.section.noun} {'/'.join(step.path)} collides with another row."
                raise DocumentError([Problem(line, text)]) from error
        return self.minted

    def one(self, step: Step) -> None:
        if step.entry is None:
            self.remove(step)
        elif step.row is None:
            self.rows[step.section.name][step.path] = self.create(step, step.entry)
        else:
            self.change(step, step.entry, step.row)

    def columns(self, entry: Entry, names: tuple[str, ...]) -> dict[str, Any]:
        columns = {}
        for name in names:
            value = entry.values[name]
            if kind(entry.section, name) is Kind.REFERENCE and value is not None:
                value = self.rows[refers(entry.section, name).name][value,]
            if kind(entry.section, name) is Kind.USER and value is not None:
                value = User.objects.get(username=value)
            columns[name] = value
        return columns

    def create(self, step: Step, entry: Entry) -> models.Model:
        section = step.section
        columns = self.columns(entry, section.fields)
        if section.parent:
            columns[section.parent_column] = self.rows[section.parent][step.path[: -len(section.key)]]
        if section.model is RelayKey:
            token = step.secrets.get("token_env")
            minted = access_services.relay_key_mint(**columns, token=token)
            if token is None:
                self.minted.append(MintedToken(step.path, minted.token))
            return minted.relay_key
        row = section.model(**columns)
        match row:
            case HostKey():
                row.value_env = entry.secret_envs.get("value_env", "")
                return services.host_key_insert(host_key=row, value=step.secrets.get("value_env", ""))
            case Target():
                services.target_insert(target=row, signing_secret=step.secrets.get("signing_secret_env"))
            case _:
                row.full_clean()
                row.save(force_insert=True)
        for name, value in step.secrets.items():
            if name != "signing_secret_env":  # which a target is inserted with
                WRITTEN_SECRETS[name].keep(row, value)
        return row

    def change(self, step: Step, entry: Entry, row: models.Model) -> None:
        names = tuple(name for name in step.fields if name in step.section.fields)
        if names:
            for name, value in self.columns(entry, names).items():
                setattr(row, name, value)
            # The token goes first where the mode changes with it: a row is checked as a whole.
            if not (isinstance(row, RelayKey) and step.secrets):
                row.full_clean()
            stamps = ["updated_at"] if any(one.name == "updated_at" for one in row._meta.fields) else []
            row.save(update_fields=[*names, *stamps])
        for name, value in step.secrets.items():
            if step.section.secret_envs[name] in step.fields and name in WRITTEN_SECRETS:
                WRITTEN_SECRETS[name].keep(row, value)
        match row:
            case HostKey() if {"value", "value_env"} & set(step.fields):
                variable = entry.secret_envs["value_env"]
                services.host_key_set_value(host_key=row, value=step.secrets["value_env"], value_env=variable)
            case RelayKey() if "token" in step.fields:
                access_services.relay_key_set_token(relay_key=row, token=step.secrets["token_env"])

    def remove(self, step: Step) -> None:
        assert step.row is not None
        if isinstance(step.row, RelayKey):
            access_services.relay_key_revoke(relay_key=step.row)
        else:
            step.row.delete()
