"""Conditions: which requests a target gets. Read once, then asked of each request in the edge. Pure.

    {"all": [{"event_type": ["order.*", "refund"]}, {"path": "order.total", "gte": 100}]}

Types are never coerced: the text "5" is not the number 5, true is not 1; 5 and 5.0 are one number, as in JSON. A
path or header that is not there fails every comparison but `"exists": false`; a body that is not JSON has no paths.

Measured: 0.6 us for an event type, 1 us for one path, 2 us for five conditions; a condition on the body also needs it
decoded, which the request pays for once (`facts.py`). No pattern takes more than linear time: `like` knows `*` alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from relay_contract.excerpt import excerpt
from relay_contract.shaping.checking import Check, Fault, at
from relay_contract.shaping.comparisons import NUMERIC, OPERATORS, Predicate, any_like
from relay_contract.shaping.facts import MISSING, Facts
from relay_contract.shaping.run import Run

MAX_LEAVES = 64
MAX_DEPTH = 8

Test: TypeAlias = Callable[[Run, object], bool]
"""Says whether the value at hand passes."""
_Wanted: TypeAlias = tuple[str, object, Predicate]
"""A comparison: its operator, what the document compares with, and the predicate."""

_LEAF_KINDS = ("path", "header", "event_type")
_KINDS = ("all", "any", "not", *_LEAF_KINDS)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions, ready to be asked. May be shared by threads."""

    reads_body: bool  # False: the body is never decoded for them
    _test: Test

    def __call__(self, facts: Facts) -> bool:
        """True where the request passes. Never raises."""
        run = Run(facts)
        return self._test(run, run.root() if self.reads_body else MISSING)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one part of the conditions said. `why` is "" where it passed, else what was met and what was wanted."""

    place: str
    passes: bool
    why: str


@dataclass(frozen=True, slots=True)
class ConditionsTrace:
    """A dry run. `verdicts` are those of the parts that were asked, in the order in which they answered."""

    passes: bool
    verdicts: tuple[Verdict, ...]


def check_conditions(document: object) -> tuple[Fault, ...]:
    """Every mistake in the document, up to a bound; () for one that `compile_conditions` takes."""
    check = Check()
    read_conditions(document, check, "")
    return tuple(check.faults)


def compile_conditions(document: object) -> Conditions:
    """The conditions, ready to be asked: `compile_conditions(document)(facts)`. ShapingError for a bad document."""
    check = Check()
    test = read_conditions(document, check, "")
    check.raise_faults()
    return Conditions(check.reads_body, test)


def trace_conditions(document: object, facts: Facts) -> ConditionsTrace:
    """A dry run that says what each part was asked and answered. ShapingError for a bad document."""
    check = Check()
    test = read_conditions(document, check, "", is_traced=True)
    check.raise_faults()
    verdicts: list[Verdict] = []
    run = Run(facts, lambda place, passes, why: verdicts.append(Verdict(place, bool(passes), why)))
    passes = test(run, run.root() if check.reads_body else MISSING)
    return ConditionsTrace(passes, tuple(verdicts))


def read_conditions(document: object, check: Check, place: str, *, is_traced: bool = False) -> Test:
    """The test of a document that stands at `place` of a larger one. Faults go to `check`; the test is usable only
    where there are none."""
    return _Reader(check, is_traced).node(document, place, 1)


class _Reader:
    """Turns a document into one closure made of closures."""

    def __init__(self, check: Check, is_traced: bool) -> None:
        self._check = check
        self._is_traced = is_traced
        self._leaves = 0

    def node(self, node: object, place: str, depth: int) -> Test:
        """The test of one part."""
        if depth > MAX_DEPTH:
            return self._refused(place, f"conditions nest at most {MAX_DEPTH} deep")
        if not isinstance(node, dict):
            return self._refused(place, 'a condition is an object, such as {"path": "order.total", "gte": 100}')
        kinds = [kind for kind in _KINDS if kind in node]
        if len(kinds) != 1:
            return self._refused(place, f"a condition has exactly one of {', '.join(_KINDS)}")
        match kinds[0]:
            case "all" | "any" as kind:
                return self._group(node, kind, place, depth)
            case "not":
                self._check.members(place, node, ("not",))
                test = self.node(node["not"], at(place, "not"), depth + 1)
                return self._traced(place, lambda run, here: not test(run, here))
            case kind:
                return self._leaf(node, kind, place)

    def _group(self, node: dict[str, Any], kind: str, place: str, depth: int) -> Test:
        self._check.members(place, node, (kind,))
        parts = node[kind]
        if not isinstance(parts, list) or not parts:
            return self._refused(at(place, kind), "lists at least one condition")
        tests: list[Test] = []
        for number, part in enumerate(parts):
            if self._leaves > MAX_LEAVES:
                break
            tests.append(self.node(part, at(at(place, kind), number), depth + 1))
        if len(tests) == 1:
            return self._traced(place, tests[0])
        return self._traced(place, _all(tuple(tests)) if kind == "all" else _any(tuple(tests)))

    def _leaf(self, node: dict[str, Any], kind: str, place: str) -> Test:
        self._leaves += 1
        if self._leaves > MAX_LEAVES:
            return self._refused(place, f"at most {MAX_LEAVES} comparisons fit into the conditions of one target")
        if kind == "event_type":
            self._check.members(place, node, ("event_type",))
            patterns = node[kind] if isinstance(node[kind], list) else [node[kind]]
            wanted = ("like", node[kind], any_like(self._check, at(place, kind), patterns))
            return self._comparison(place, "event_type", _event_type, (wanted,))
        self._check.members(place, node, (kind, *OPERATORS))
        name = f"header:{node[kind]}" if kind == "header" else node[kind]
        reference = self._check.reference(at(place, kind), name)
        if kind == "path" and not reference.is_body and isinstance(name, str):
            self._check.fault(at(place, kind), 'is a path into the body; write {"header": ...} or {"event_type": ...}')
        operators = [operator for operator in OPERATORS if operator in node]
        if not operators:
            self._check.fault(place, f"says what to compare with: one of {', '.join(OPERATORS)}")
        if kind == "header":
            for operator in operators:
                if operator in NUMERIC:
                    self._check.fault(at(place, operator), "a header is text, which is never compared as a number")
        wanted_ones = tuple(
            (operator, node[operator], OPERATORS[operator](self._check, at(place, operator), node[operator]))
            for operator in operators
        )
        read = reference.read
        return self._comparison(place, str(name), lambda run, here: read(run.facts, here), wanted_ones)

    def _comparison(
        self, place: str, name: str, read: Callable[[Run, object], object], wanted: tuple[_Wanted, ...]
    ) -> Test:
        if self._is_traced:
            return _explained(place, name, read, wanted)
        predicates = tuple(predicate for _, _, predicate in wanted)
        if len(predicates) == 1:
            only = predicates[0]
            return lambda run, here: only(run, read(run, here))
        return lambda run, here: all(predicate(run, read(run, here)) for predicate in predicates)

    def _traced(self, place: str, test: Test) -> Test:
        return _recorded(place, test) if self._is_traced else test

    def _refused(self, place: str, text: str) -> Test:
        self._check.fault(place, text)
        return lambda _run, _here: False


def _event_type(run: Run, _here: object) -> object:
    return run.facts.event_type or MISSING


def _all(tests: tuple[Test, ...]) -> Test:
    def passes(run: Run, here: object) -> bool:
        run.steps_left -= 1
        for test in tests:  # noqa: SIM110 (a generator would cost as much as a comparison)
            if not test(run, here):
                return False
        return True

    return passes


def _any(tests: tuple[Test, ...]) -> Test:
    def passes(run: Run, here: object) -> bool:
        run.steps_left -= 1
        for test in tests:  # noqa: SIM110 (as above)
            if test(run, here):
                return True
        return False

    return passes


def _recorded(place: str, test: Test) -> Test:
    def passes(run: Run, here: object) -> bool:
        result = test(run, here)
        if run.record:
            run.record(place, result, "")
        return result

    return passes


def _explained(place: str, name: str, read: Callable[[Run, object], object], wanted: tuple[_Wanted, ...]) -> Test:
    def passes(run: Run, here: object) -> bool:
        value = read(run, here)
        why = ""
        for operator, expected, predicate in wanted:
            if not predicate(run, value):
                met = "is missing" if value is MISSING else f"is {excerpt(value, 80)}"
                why = f"{name} {met}; wanted: {operator} {excerpt(expected, 80)}"
                break
        if run.record:
            run.record(place, not why, why)
        return not why

    return passes
