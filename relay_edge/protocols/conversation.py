"""Turns put into the order that both vendors ask for, and the faults they refuse found before the call. Pure.

Roles alternate, a user's tool results come before its other words, each call of a tool has exactly one result in the
turn after it. Nothing is invented and nothing of substance taken away: what does not fit is refused by its place.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

from relay_contract.errors import BadField
from relay_edge.protocols.canonical import Block, Refusal, Role, Text, ToolResult, ToolUse, Turn
from relay_edge.protocols.notes import Notes

_ID = re.compile(r"[A-Za-z0-9_-]+")
_ID_PREFIX = re.compile(r"\A(?:chatcmpl-|msg_|resp_)")
_NOT_NAME = re.compile(r"[^A-Za-z0-9_-]")


def in_order(turns: Iterable[Turn], notes: Notes) -> list[Turn]:
    """Turns of user and assistant, alternating, and of the system where there are any. Raises BadField for tool calls
    and results that do not match."""
    merged: list[Turn] = []
    for turn in turns:
        blocks = tuple(block for block in turn.blocks if not _is_blank(block))
        if not blocks:
            notes.dropped(
                "messages.empty", turn.place
            )  # dropped: an empty message: Anthropic refuses it, and it says nothing
            continue
        if merged and merged[-1].role is turn.role:
            last = merged[-1]
            merged[-1] = Turn(last.role, last.blocks + blocks, last.place)
        else:
            merged.append(Turn(turn.role, blocks, turn.place))
    ordered = [_results_first(turn) if turn.role is Role.USER else turn for turn in merged]
    _check_results(ordered)
    return ordered


def _is_blank(block: Block) -> bool:
    return isinstance(block, Text | Refusal) and not block.text.strip()


def _results_first(turn: Turn) -> Turn:
    results = tuple(block for block in turn.blocks if isinstance(block, ToolResult))
    if not results:
        return turn
    return Turn(turn.role, results + tuple(b for b in turn.blocks if not isinstance(b, ToolResult)), turn.place)


def _check_results(turns: Sequence[Turn]) -> None:
    waiting: dict[str, None] = {}
    caller_place = ""
    for turn in turns:
        if turn.role is Role.USER:
            for block in turn.blocks:
                if isinstance(block, ToolResult):
                    if block.tool_use_id not in waiting:
                        text = "answers no tool call of the message before it, or one that was answered already."
                        raise BadField(block.place or turn.place, f"the tool result {_shown(block.tool_use_id)} {text}")
                    del waiting[block.tool_use_id]
        if waiting:
            break
        if turn.role is Role.ASSISTANT:
            caller_place = turn.place
            for block in turn.blocks:
                if isinstance(block, ToolUse):
                    if block.id in waiting:
                        raise BadField(turn.place, f"two tool calls have the id {_shown(block.id)}.")
                    waiting[block.id] = None
    if waiting:
        raise BadField(caller_place, f"the tool call {_shown(next(iter(waiting)))} has no result in the message after.")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


def bare_id(answer_id: str) -> str:
    """An answer's id without the prefix that says whose shape it has."""
    return _ID_PREFIX.sub("", answer_id)


def fitting_id(name: str, longest: int) -> str:
    """A tool call's id as the other vendor takes it; the same one each time, so that call and result still match."""
    if len(name) <= longest and _ID.fullmatch(name):
        return name
    return _with_digest(name, longest)


class ToolNames:
    """Names of tools as a host takes them, and the way back."""

    __slots__ = ("_longest", "_sent", "_starts_with_letter", "back")

    def __init__(self, longest: int, *, starts_with_letter: bool = False) -> None:
        """`starts_with_letter`: the host wants a letter or an underscore first."""
        self._longest = longest
        self._starts_with_letter = starts_with_letter
        self._sent: dict[str, str] = {}
        self.back: dict[str, str] = {}
        """As the host knows them -> as the caller does; only those that differ."""

    def sent(self, name: str) -> str:
        """The name that the host sees."""
        known = self._sent.get(name)
        if known is None:
            known = fitting_id(name, self._longest)
            if self._starts_with_letter and not (known[0].isalpha() or known[0] == "_"):
                known = _with_digest(f"_{name}", self._longest)
            self._sent[name] = known
            if known != name:
                self.back[known] = name
        return known


def _with_digest(name: str, longest: int) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{_NOT_NAME.sub('_', name)[: longest - 11]}_{digest}"
