"""What is wrong with a document of conditions or of a mapping, said where it is wrong. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from relay_contract.shaping.paths import PathError, Reference, parse_reference, shown

MAX_FAULTS = 20
MAX_TEXT_LENGTH = 1_024
"""Of a text in a document: a pattern, a separator, a name. Constants of a mapping may be longer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake. `place` is its path in the document, as people write paths: `all[1].like`; "" is the whole."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


class ShapingError(ValueError):
    """A document that cannot be used. `faults` are its mistakes, at most MAX_FAULTS."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(map(str, faults)))


def at(place: str, step: str | int) -> str:
    """The path of a part of the document."""
    part = shown((step,))
    return f"{place}.{part}" if place and not part.startswith("[") else place + part


@dataclass(slots=True)
class Check:
    """Gathers the mistakes of one document while it is read, and whether it needs the body."""

    faults: list[Fault] = field(default_factory=list)
    reads_body: bool = False

    def fault(self, place: str, text: str) -> None:
        """A mistake. Reading goes on, so that people see them all at once."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(place, text))

    def raise_faults(self) -> None:
        """ShapingError where there was any."""
        if self.faults:
            raise ShapingError(tuple(self.faults))

    def text(self, place: str, value: object, *, what: str, allows_empty: bool = False) -> str:
        """A text of the document; "" and a fault where it is none."""
        if not isinstance(value, str) or len(value) > MAX_TEXT_LENGTH or not (value or allows_empty):
            self.fault(place, f"{what} is a text of {0 if allows_empty else 1} to {MAX_TEXT_LENGTH} characters")
            return ""
        return value

    def reference(self, place: str, value: object, *, with_every: bool = False) -> Reference:
        """A reference of the document; that to the whole and a fault where it is none."""
        if not isinstance(value, str):
            self.fault(place, 'a path is a text, such as "order.lines[0].sku"')
            return parse_reference("")
        try:
            reference = parse_reference(value, with_every=with_every)
        except PathError as error:
            self.fault(place, str(error))
            return parse_reference("")
        self.reads_body = self.reads_body or reference.is_body
        return reference

    def members(self, place: str, node: Mapping[str, object], allowed: Collection[str]) -> None:
        """A fault for each member that nobody would read: a typing error must not change what is sent."""
        for name in node:
            if name not in allowed:
                self.fault(at(place, name), f"is not known here; known are {', '.join(sorted(allowed))}")
