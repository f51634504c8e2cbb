"""What would become of one call to an endpoint, step by step, as it is configured now or in its line's draft.

The steps are those of the edge and the workers in their order, by the same modules of the contract. Nothing is written
or sent, Redis is not asked, and no limit is counted. Credentials are shown as MASKED, static headers too.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.http import Http404

from relay_admin.catalog.document import Entry
from relay_admin.catalog.lines import documents, drafts
from relay_admin.catalog.models import Endpoint, Line, Target
from relay_admin.catalog.sections import Kind, kind
from relay_admin.catalog.services import sealer
from relay_contract import headers, inbound_signatures, nouns
from relay_contract.credits import units
from relay_contract.errors import EndpointMisconfigured
from relay_contract.ids import uuid7
from relay_contract.inbound_signatures import ConfigError, Verdict
from relay_contract.networks import Networks
from relay_contract.nouns import DeliveryMode, EndpointAuth, TargetAuth, TargetRole
from relay_contract.schemas import SchemaError, compile_schema
from relay_contract.sealing import SealingError
from relay_contract.shaping.checking import ShapingError
from relay_contract.shaping.conditions import trace_conditions
from relay_contract.shaping.facts import NOT_JSON, Facts
from relay_contract.shaping.mapping import MappingTrace, trace_mapping
from relay_contract.shaping.paths import PathError, follow, parse_reference
from relay_contract.shield import OFTEN_WITHOUT_BODY, ContentTypes, event_type_of, methods_taken

CONTENT_TYPE = "content-type"
MASKED = "…"
MAX_SHOWN_BODY = 65_536


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """What a sync target might answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Sample:
    """A call. Header names in lower case; `address`: the caller's, None asks nothing of it."""

    method: str
    headers: Mapping[str, str]
    body: bytes
    address: str | None = None
    answer: SampleAnswer | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One check. `status`: what the caller would be answered where `passes` is False; None: it was not asked."""

    name: str
    passes: bool | None
    detail: str
    status: int = 0


@dataclass(frozen=True, slots=True)
class Leaf:
    """What one part of conditions or of a mapping said: its place, whether or what, and why."""

    place: str
    said: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class TargetRun:
    """What one target would get. `headers` and `body` are those that would go; `answer` is the caller's."""

    name: str
    mode: str
    verdict: str  # gets it, disabled, filtered, or mapping_failed
    detail: str = ""
    conditions: tuple[Leaf, ...] = ()
    mapping: tuple[Leaf, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    credits: int = 0
    answer: str = ""
    answer_mapping: tuple[Leaf, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """The whole. `targets` is empty where a step refuses the call."""

    steps: tuple[Step, ...]
    event_type: str
    targets: tuple[TargetRun, ...]

    @property
    def is_accepted(self) -> bool:
        """Whether no step refuses it."""
        return all(step.passes is not False for step in self.steps)

    @property
    def credits(self) -> int:
        """Held for all deliveries together."""
        return sum(target.credits for target in self.targets)


def run_now(endpoint: Endpoint, sample: Sample) -> Run:
    """As it is configured now."""
    return _run(endpoint, list(endpoint.targets.order_by("name")), sample)


def run_draft(line: Line, slug: str, sample: Sample) -> Run:
    """As the line's draft has it. Raises Http404 where it has no such endpoint, LineRefused for a draft whose document
    cannot be used any more."""
    draft = drafts.draft_of(line)
    if draft is None:
        raise Http404
    rows, document = drafts.resolved(line, draft.document)
    [whole] = document.parts["lines"]
    line = copy(line)
    line.is_enabled = whole.values["is_enabled"]
    for entry in documents.entries(document):
        if entry.section is documents.ENDPOINTS and entry.path[-1] == slug:
            row = rows["endpoints"].get(entry.path)
            endpoint = Endpoint(line=line, **_columns(entry))
            if isinstance(row, Endpoint):  # its secrets are no part of a draft
                endpoint.pk = row.pk
                endpoint.sealed_signature_secret = row.sealed_signature_secret
                endpoint.sealed_previous_signature_secret = row.sealed_previous_signature_secret
                endpoint.previous_signature_until = row.previous_signature_until
            targets = [Target(endpoint=endpoint, **_columns(one)) for one in entry.children["targets"]]
            return _run(endpoint, sorted(targets, key=lambda target: target.name), sample)
    raise Http404


def _columns(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in entry.values.items() if kind(entry.section, name) is not Kind.REFERENCE}


def _run(endpoint: Endpoint, targets: list[Target], sample: Sample) -> Run:
    path = f"/r/{endpoint}"
    at = datetime.now(UTC)
    sent = _passed_on(sample.headers)
    facts = Facts(body=sample.body, headers=sent, method=sample.method, path=path)
    event_type = _event_type(endpoint, facts)
    steps = tuple(_steps(endpoint, targets, sample, facts, at))
    if endpoint.event_type_from:
        steps += (Step("event type", True, event_type or f"{endpoint.event_type_from} gives none"),)
    if any(step.passes is False for step in steps):
        return Run(steps, event_type, ())
    full = Facts(
        body=sample.body,
        headers=sent,
        event_type=event_type,
        method=sample.method,
        path=path,
        request_id=str(uuid7()),
        received_at=at.isoformat(),
    )
    return Run(steps, event_type, tuple(_target(target, full, sample) for target in targets))


def _passed_on(sent: Mapping[str, str]) -> dict[str, str]:
    ended = {CONTENT_TYPE, *(name.strip().lower() for name in sent.get("connection", "").split(","))}
    return {name: value for name, value in sent.items() if name not in ended and headers.reaches_targets(name)}


def _steps(endpoint: Endpoint, targets: list[Target], sample: Sample, facts: Facts, at: datetime) -> Iterator[Step]:
    """In the edge's order."""
    is_on = endpoint.is_enabled and endpoint.line.is_enabled and not endpoint.line.project.is_archived
    yield Step("endpoint", is_on, "" if is_on else "It, its line or its project is disabled.", 404)
    yield _address(endpoint, sample)
    yield _method(endpoint, targets, sample)
    yield _content_type(endpoint, sample)
    is_small = len(sample.body) <= endpoint.max_body_bytes
    yield Step("size", is_small, f"{len(sample.body)} of {endpoint.max_body_bytes} bytes", 413)
    yield _signature(endpoint, sample, at)
    yield _schema(endpoint, sample, facts)


def _address(endpoint: Endpoint, sample: Sample) -> Step:
    if not endpoint.allowed_networks:
        return Step("address", None, "Any address may call.")
    if sample.address is None:
        return Step("address", None, "No address was given to compare with the networks that may call.")
    address = ipaddress.ip_address(sample.address)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    passes = str(address) in Networks(endpoint.allowed_networks)
    return Step("address", passes, f"{address} is in {'one' if passes else 'none'} of the networks that may call.", 403)


def _method(endpoint: Endpoint, targets: list[Target], sample: Sample) -> Step:
    allowed = methods_taken(
        endpoint.methods, ((DeliveryMode(one.delivery_mode), TargetRole(one.role)) for one in targets)
    )
    return Step("method", sample.method in allowed, f"{sample.method} of {', '.join(allowed)}", 405)


def _content_type(endpoint: Endpoint, sample: Sample) -> Step:
    if not endpoint.content_types or (not sample.body and sample.method in OFTEN_WITHOUT_BODY):
        return Step("content type", None, "Any is taken.")
    written = sample.headers.get(CONTENT_TYPE, "")
    passes = written in ContentTypes.of(endpoint.content_types)
    name = written.partition(";")[0].strip() or "none"
    return Step("content type", passes, f"{name} of {', '.join(endpoint.content_types)}", 415)


def _signature(endpoint: Endpoint, sample: Sample, at: datetime) -> Step:
    if endpoint.auth == EndpointAuth.RELAY_KEY:
        return Step("signature", None, "Callers show a relay key, which a dry run does not ask for.")
    try:
        config = inbound_signatures.read_config(endpoint.signature_preset, endpoint.signature_config)
        secrets = list(_signature_secrets(endpoint, at))
    except (ConfigError, SealingError) as error:
        return Step("signature", False, f"The endpoint cannot check signatures: {error}", EndpointMisconfigured.status)
    verdict = inbound_signatures.verify(
        endpoint.signature_preset,
        config,
        secrets,
        sample.headers,
        sample.body,
        url=f"{settings.EDGE_URL}/r/{endpoint}",
        now=at.timestamp(),
    )
    status = EndpointMisconfigured.status if verdict is Verdict.UNKNOWN else 401
    said = "The endpoint has no secret to check it with." if verdict is Verdict.UNKNOWN else f"It is {verdict}."
    return Step("signature", verdict is Verdict.OK, said, status)


def _signature_secrets(endpoint: Endpoint, at: datetime) -> Iterator[str]:
    if endpoint.sealed_signature_secret:
        yield sealer().unseal(bytes(endpoint.sealed_signature_secret), nouns.endpoint_signature_binding(endpoint.pk))
    until = endpoint.previous_signature_until
    if endpoint.sealed_previous_signature_secret and (until is None or until > at):
        binding = nouns.endpoint_previous_signature_binding(endpoint.pk)
        yield sealer().unseal(bytes(endpoint.sealed_previous_signature_secret), binding)


def _schema(endpoint: Endpoint, sample: Sample, facts: Facts) -> Step:
    if endpoint.json_schema is None or (not sample.body and sample.method in OFTEN_WITHOUT_BODY):
        return Step("schema", None, "Any body is taken.")
    try:
        validator = compile_schema(endpoint.json_schema)
    except SchemaError as error:
        return Step("schema", False, f"The schema cannot be used: {error}", EndpointMisconfigured.status)
    document = facts.document()
    if document is NOT_JSON:
        return Step("schema", False, "The body is not JSON.", 422)
    violation = validator.check(document)
    said = "" if violation is None else f"{violation.path or 'The body'} {violation.message}."
    return Step("schema", violation is None, said, 422)


def _event_type(endpoint: Endpoint, facts: Facts) -> str:
    if not endpoint.event_type_from:
        return ""
    try:
        reference = parse_reference(endpoint.event_type_from)
    except PathError:
        return ""
    if reference.source == "header":
        return event_type_of(facts.headers.get(reference.name))
    document = facts.document()
    return "" if document is NOT_JSON else event_type_of(follow(document, reference.steps))


def _target(target: Target, facts: Facts, sample: Sample) -> TargetRun:
    name, mode = target.name, str(target.delivery_mode)
    if not target.is_enabled:
        return TargetRun(name, mode, "disabled", "It gets nothing until somebody enables it.")
    leaves: tuple[Leaf, ...] = ()
    if target.conditions is not None:
        try:
            trace = trace_conditions(target.conditions, facts)
        except ShapingError as error:
            return TargetRun(name, mode, "filtered", f"The conditions cannot be used: {error}")
        leaves = tuple(Leaf(one.place, "passes" if one.passes else "fails", one.why) for one in trace.verdicts)
        if not trace.passes:
            failed = next((one.why for one in trace.verdicts if one.why), "")
            return TargetRun(name, mode, "filtered", failed, leaves)
    return _shaped(target, facts, sample, leaves)


def _shaped(target: Target, facts: Facts, sample: Sample, leaves: tuple[Leaf, ...]) -> TargetRun:
    name, mode = target.name, str(target.delivery_mode)
    held = units(0 if mode == DeliveryMode.STREAM else len(facts.body))
    steps: tuple[Leaf, ...] = ()
    body, made = facts.body, {}
    if target.mapping is not None:
        try:
            trace = trace_mapping(target.mapping, facts)
        except ShapingError as error:
            return TargetRun(name, mode, "mapping_failed", f"The mapping cannot be used: {error}", leaves, credits=held)
        steps = _leaves(trace)
        if trace.shaped is None:
            return TargetRun(name, mode, "mapping_failed", _why(trace), leaves, steps, credits=held)
        made = dict(trace.shaped.headers)
        if trace.shaped.body is not None:
            body, made = trace.shaped.body, {CONTENT_TYPE: "application/json", **made}
    answer, answer_steps = _answer(target, sample)
    return TargetRun(
        name,
        mode,
        "gets it",
        _share(target),
        leaves,
        steps,
        _sent(target, facts, sample, made),
        _shown(body),
        held,
        answer,
        answer_steps,
    )


def _share(target: Target) -> str:
    if target.role != TargetRole.SHADOW:
        return ""
    return f"As a shadow: {target.sample_permyriad} of 10,000 calls."


def _sent(target: Target, facts: Facts, sample: Sample, made: Mapping[str, str]) -> dict[str, str]:
    """Names in lower case; what is written last wins, as in the workers."""
    sent = {"accept": "*/*", **facts.headers}
    if content_type := sample.headers.get(CONTENT_TYPE):
        sent[CONTENT_TYPE] = content_type
    sent |= made
    sent |= {name.lower(): MASKED for name in target.headers}
    if target.auth_kind != TargetAuth.NONE:
        scheme = "Basic" if target.auth_kind == TargetAuth.BASIC else "Bearer"
        sent["authorization"] = f"{scheme} {MASKED}"
    if target.delivery_mode != DeliveryMode.STREAM:
        ours = ("webhook-timestamp", "webhook-signature", headers.DELIVERY_ID)
        sent |= {"webhook-id": facts.request_id, **dict.fromkeys(ours, MASKED), headers.ATTEMPT: "1"}
    return dict(sorted(sent.items()))


def _answer(target: Target, sample: Sample) -> tuple[str, tuple[Leaf, ...]]:
    given = sample.answer
    if given is None or target.delivery_mode != DeliveryMode.SYNC:
        return "", ()
    if target.answer_mapping is None:
        return _shown(given.body), ()
    facts = Facts(body=given.body, headers=given.headers, status=given.status)
    try:
        trace = trace_mapping(target.answer_mapping, facts)
    except ShapingError as error:
        return f"The mapping of the answer cannot be used: {error}", ()
    if trace.shaped is None:
        return _why(trace), _leaves(trace)
    return _shown(given.body if trace.shaped.body is None else trace.shaped.body), _leaves(trace)


def _leaves(trace: MappingTrace) -> tuple[Leaf, ...]:
    return tuple(Leaf(one.place, one.gave, one.why) for one in trace.steps)


def _why(trace: MappingTrace) -> str:
    assert trace.error is not None
    return f"{trace.error.place}: {trace.error.text}" if trace.error.place else trace.error.text


def _shown(body: bytes) -> str:
    text = body[:MAX_SHOWN_BODY].decode("utf-8", "replace")
    return text if len(body) <= MAX_SHOWN_BODY else f"{text}…"
