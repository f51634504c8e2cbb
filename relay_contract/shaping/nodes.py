"""The nodes of a mapping: each is read into a function that makes a value of the request and the value at hand. Pure.

A node that has nothing to give gives MISSING: then a member is left out of its object, an item out of its list, and a
header is not set. What cannot be made as asked is a MappingError with the node's place.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from relay_contract.shaping import texts
from relay_contract.shaping.checking import Check, at
from relay_contract.shaping.conditions import Test, read_conditions
from relay_contract.shaping.facts import MISSING
from relay_contract.shaping.paths import Every, follow, follow_every
from relay_contract.shaping.run import MAX_EACH_ITEMS, MappingError, Run

MAX_NODES = 256
MAX_DEPTH = 16
MAX_CONSTANT_LENGTH = 65_536

Make: TypeAlias = Callable[[Run, object], object]
"""Makes a value. Raises MappingError and nothing else."""

_EXAMPLE = 'a node is an object, such as {"field": "order.id"} or {"constant": 5}'


class NodeReader:
    """Reads the nodes of one mapping; faults go to `check`."""

    def __init__(self, check: Check, is_traced: bool) -> None:
        self._check = check
        self._is_traced = is_traced
        self._nodes = 0

    def node(self, node: object, place: str, depth: int) -> Make:
        """The function of one node, usable where there was no fault."""
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            return self._refused(place, f"a mapping has at most {MAX_NODES} nodes, {MAX_DEPTH} deep")
        if not isinstance(node, dict):
            return self._refused(place, _EXAMPLE)
        kinds = [kind for kind in _KINDS if kind in node]
        if len(kinds) != 1:
            return self._refused(place, f"a node has exactly one of {', '.join(_KINDS)}")
        read, others = _KINDS[kinds[0]]
        self._check.members(place, node, (kinds[0], *others))
        made = read(self, node, place, depth)
        return _recorded(place, made) if self._is_traced else made

    def read_field(self, node: dict[str, Any], place: str, _depth: int) -> Make:
        """`{"field": path, "default"?: value}`."""
        read = self._check.reference(at(place, "field"), node["field"]).read
        default = self._default(node, place)

        def make(run: Run, here: object) -> object:
            value = read(run.facts, here)
            if value is MISSING:
                return default(run, here)
            run.put_out_value(place, value)
            return value

        return make

    def read_whole(self, node: dict[str, Any], place: str, _depth: int) -> Make:
        """`{"whole": true}`: the value at hand, which is the body, or within `each` the item."""
        if node["whole"] is not True:
            self._check.fault(at(place, "whole"), "is true")
        self._check.reads_body = True

        def make(run: Run, here: object) -> object:
            run.put_out_value(place, here)
            return here

        return make

    def read_constant(self, node: dict[str, Any], place: str, _depth: int) -> Make:
        """`{"constant": value}`."""
        return self._constant(node["constant"], at(place, "constant"))

    def read_object(self, node: dict[str, Any], place: str, depth: int) -> Make:
        """`{"object": {name: node}}`."""
        place = at(place, "object")
        members = node["object"]
        if not isinstance(members, dict):
            return self._refused(place, "is an object of names and nodes")
        makes = tuple(
            (name, self.node(member, at(place, name), depth + 1)) for name, member in self._few(members.items())
        )
        size = sum(len(name) + 4 for name in members)

        def make(run: Run, here: object) -> object:
            run.spend(place, len(makes))
            run.put_out(place, size)
            made = {}
            for name, make_member in makes:
                value = make_member(run, here)
                if value is not MISSING:
                    made[name] = value
            return made

        return make

    def read_list(self, node: dict[str, Any], place: str, depth: int) -> Make:
        """`{"list": [node]}`."""
        place = at(place, "list")
        makes = self._several(node["list"], place, depth)

        def make(run: Run, here: object) -> object:
            run.spend(place, len(makes))
            run.put_out(place, 2 * len(makes))
            return [value for make_item in makes if (value := make_item(run, here)) is not MISSING]

        return make

    def read_each(self, node: dict[str, Any], place: str, depth: int) -> Make:
        """`{"each": path, "as": node, "where"?: conditions}`: a list made of a list, item by item."""
        items_of = self._items(node["each"], at(place, "each"))
        make_item = self.node(node.get("as"), at(place, "as"), depth + 1)
        where = self._conditions(node["where"], at(place, "where")) if "where" in node else None

        def make(run: Run, here: object) -> object:
            made = []
            for count, item in enumerate(items_of(run, here)):
                if count == MAX_EACH_ITEMS:
                    raise MappingError(place, "too_many_items", f"the list has more than {MAX_EACH_ITEMS:,} items")
                run.spend(place, 1)
                run.put_out(place, 2)
                if where is None or where(run, item):
                    value = make_item(run, item)
                    if value is not MISSING:
                        made.append(value)
            return made

        return make

    def read_choice(self, node: dict[str, Any], place: str, depth: int) -> Make:
        """`{"if": conditions, "then": node, "else"?: node}`."""
        test = self._conditions(node["if"], at(place, "if"))
        then = self.node(node.get("then"), at(place, "then"), depth + 1)
        otherwise = self.node(node["else"], at(place, "else"), depth + 1) if "else" in node else _nothing

        def make(run: Run, here: object) -> object:
            run.spend(place, 1)
            return then(run, here) if test(run, here) else otherwise(run, here)

        return make

    def read_merge(self, node: dict[str, Any], place: str, depth: int) -> Make:
        """`{"merge": [node]}`: one object of several; the later ones win."""
        place = at(place, "merge")
        makes = self._several(node["merge"], place, depth)

        def make(run: Run, here: object) -> object:
            merged: dict[str, object] = {}
            for number, make_part in enumerate(makes):
                part = make_part(run, here)
                if part is not MISSING:
                    members = _members(at(place, number), part)
                    run.spend(place, 1 + len(members))
                    merged.update(members)
            return merged

        return make

    def read_only(self, node: dict[str, Any], place: str, depth: int) -> Make:
        """`{"only": [names], "of": node}`: these members of an object."""
        names = self._names(node["only"], at(place, "only"))
        make_object = self.node(node.get("of"), at(place, "of"), depth + 1)

        def make(run: Run, here: object) -> object:
            run.spend(place, len(names))
            value = make_object(run, here)
            if value is MISSING:
                return MISSING
            members = _members(place, value)
            return {name: members[name] for name in names if name in members}

        return make

    def read_without(self, node: dict[str, Any], place: str, depth: int) -> Make:
        """`{"without": [names], "of": node}`: all but these."""
        names = frozenset(self._names(node["without"], at(place, "without")))
        make_object = self.node(node.get("of"), at(place, "of"), depth + 1)

        def make(run: Run, here: object) -> object:
            value = make_object(run, here)
            if value is MISSING:
                return MISSING
            members = _members(place, value)
            run.spend(place, 1 + len(members))
            return {name: member for name, member in members.items() if name not in names}

        return make

    def read_text(self, node: dict[str, Any], place: str, _depth: int) -> Make:
        """`{"text": "Order {order.id}", "default"?: text}`; the default stands in for each missing or null value."""
        template = texts.read_template(self._check, at(place, "text"), node["text"])
        stand_in = None
        if "default" in node:
            stand_in = self._check.text(at(place, "default"), node["default"], what="a default", allows_empty=True)
        return texts.filled(place, template, stand_in)

    def read_join(self, node: dict[str, Any], place: str, depth: int) -> Make:
        """`{"join": [node] | node, "with": text}`; the one node gives a list."""
        separator = self._check.text(at(place, "with"), node.get("with"), what="`with`", allows_empty=True)
        if isinstance(node["join"], list):
            make_parts = self.read_list({"list": node["join"]}, place, depth)
        else:
            make_parts = self.node(node["join"], at(place, "join"), depth + 1)
        return texts.joined(place, make_parts, separator)

    def read_split(self, node: dict[str, Any], place: str, depth: int) -> Make:
        """`{"split": node, "by": text, "at"?: index}`."""
        separator = self._check.text(at(place, "by"), node.get("by"), what="`by`")
        index = node.get("at")
        if index is not None and (type(index) is not int or not 0 <= index < MAX_EACH_ITEMS):
            self._check.fault(at(place, "at"), "is a number from 0")
        return texts.split(place, self.node(node["split"], at(place, "split"), depth + 1), separator, index)

    def read_conversion(self, node: dict[str, Any], place: str, depth: int) -> Make:
        """`{"number" | "string" | "boolean": node, "default"?: value}`."""
        kind = next(kind for kind in texts.CONVERSIONS if kind in node)
        make_value = self.node(node[kind], at(place, kind), depth + 1)
        default = self._default(node, place)
        has_default = "default" in node
        convert = texts.CONVERSIONS[kind]

        def make(run: Run, here: object) -> object:
            run.spend(place, 1)
            value = make_value(run, here)
            converted = MISSING if value is MISSING else convert(value)
            if converted is MISSING and (has_default or value is MISSING):
                return default(run, here)
            if converted is MISSING:
                raise MappingError(place, f"not_a_{kind}", f"this cannot be made a {kind}; a default would stand in")
            return converted

        return make

    def _items(self, value: object, place: str) -> Callable[[Run, object], Iterable[object]]:
        """What `each` goes through: `lines` is the same as `lines[*]`. Nothing where the path leads nowhere."""
        reference = self._check.reference(place, value, with_every=True)
        if not reference.is_body:
            self._check.fault(place, "only a path into the body leads to a list")
        is_list_itself = Every.ITEM not in reference.steps

        def items(run: Run, here: object) -> Iterable[object]:
            start = here if reference.source == "here" else run.root()
            if not is_list_itself:
                return follow_every(start, reference.steps, lambda count: run.spend(place, count))
            found = follow(start, reference.steps)
            if found is MISSING:
                return ()
            if type(found) is not list:
                raise MappingError(place, "not_a_list", "the path leads to something that is not a list")
            return found

        return items

    def _default(self, node: dict[str, Any], place: str) -> Make:
        return self._constant(node["default"], at(place, "default")) if "default" in node else _nothing

    def _constant(self, value: object, place: str) -> Make:
        size = texts.encoded_length(value)
        if size is None or size > MAX_CONSTANT_LENGTH:
            return self._refused(place, f"is JSON of at most {MAX_CONSTANT_LENGTH:,} bytes")

        def make(run: Run, _here: object) -> object:
            run.put_out(place, size)
            return value

        return make

    def _conditions(self, document: object, place: str) -> Test:
        return read_conditions(document, self._check, place, is_traced=self._is_traced)

    def _several(self, nodes: object, place: str, depth: int) -> tuple[Make, ...]:
        if not isinstance(nodes, list):
            self._check.fault(place, "is a list of nodes")
            return ()
        return tuple(self.node(node, at(place, number), depth + 1) for number, node in self._few(enumerate(nodes)))

    def _few(self, entries: "Iterable[tuple[Any, object]]") -> "Iterable[tuple[Any, object]]":
        """As many as a mapping may have, and one that says so: a document may be as long as it likes."""
        for entry in entries:
            if self._nodes > MAX_NODES:
                return
            yield entry

    def _names(self, names: object, place: str) -> tuple[str, ...]:
        if not isinstance(names, list) or not 1 <= len(names) <= MAX_NODES:
            self._check.fault(place, f"lists 1 to {MAX_NODES} names of members")
            return ()
        return tuple(self._check.text(place, name, what="a name", allows_empty=True) for name in names)

    def _refused(self, place: str, text: str) -> Make:
        self._check.fault(place, text)
        return _nothing


def _nothing(_run: Run, _here: object) -> object:
    return MISSING


def _members(place: str, value: object) -> dict[str, object]:
    if type(value) is not dict:
        raise MappingError(place, "not_an_object", "this is not an object")
    return value


def _recorded(place: str, make: Make) -> Make:
    def recording(run: Run, here: object) -> object:
        value = make(run, here)
        if run.record:
            run.record(place, value, "")
        return value

    return recording


_Read: TypeAlias = Callable[[NodeReader, dict[str, Any], str, int], Make]
_KINDS: Final[dict[str, tuple[_Read, tuple[str, ...]]]] = {
    "field": (NodeReader.read_field, ("default",)),
    "whole": (NodeReader.read_whole, ()),
    "constant": (NodeReader.read_constant, ()),
    "object": (NodeReader.read_object, ()),
    "list": (NodeReader.read_list, ()),
    "each": (NodeReader.read_each, ("as", "where")),
    "if": (NodeReader.read_choice, ("then", "else")),
    "merge": (NodeReader.read_merge, ()),
    "only": (NodeReader.read_only, ("of",)),
    "without": (NodeReader.read_without, ("of",)),
    "text": (NodeReader.read_text, ("default",)),
    "join": (NodeReader.read_join, ("with",)),
    "split": (NodeReader.read_split, ("by", "at")),
    **dict.fromkeys(texts.CONVERSIONS, (NodeReader.read_conversion, ("default",))),
}
"""Every kind of node: who reads it, and which members it may have besides."""
