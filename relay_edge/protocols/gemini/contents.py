"""Turns -> `contents` (ai.google.dev/gemini-api/docs/function-calling and /thought-signatures, read 2026-11)."""

import mimetypes
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from relay_contract.errors import BadField
from relay_edge.protocols.canonical import (
    Audio,
    Block,
    Document,
    Image,
    Inline,
    Link,
    RedactedThinking,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from relay_edge.protocols.conversation import ToolNames
from relay_edge.protocols.gemini.signing import CALL, TEXT, THOUGHT, UNSIGNED, signed_part
from relay_edge.protocols.media import PDF
from relay_edge.protocols.model_traits import Traits
from relay_edge.protocols.notes import Notes

Part = dict[str, Any]


class Contents:
    """What one call's turns become."""

    def __init__(self, names: ToolNames, traits: Traits, notes: Notes) -> None:
        self._names = names
        self._traits = traits
        self._notes = notes
        self._knows_ids = traits.gemini >= (3, 0)  # older models pair calls and results by their order

    def of(self, turns: Iterable[Turn]) -> list[dict[str, Any]]:
        """Raises BadField for what cannot be said."""
        contents: list[dict[str, Any]] = []
        calls: list[ToolUse] = []  # of the turn before
        for turn in turns:
            if turn.role is Role.ASSISTANT:
                calls = [block for block in turn.blocks if isinstance(block, ToolUse)]
                contents.append({"role": "model", "parts": self._said_by_model(turn, calls)})
            else:
                contents.append({"role": "user", "parts": self._said_by_user(turn, calls)})
        return [content for content in contents if content["parts"]]

    # --- the model ---

    def _said_by_model(self, turn: Turn, calls: Sequence[ToolUse]) -> list[Part]:
        """The parts with their own signatures back on them."""
        signatures: dict[str, str] = {}
        parts: list[Part] = []
        for block in turn.blocks:
            match block:
                case Thinking(text, signature) if own := signed_part(signature):
                    if own[0] == THOUGHT:
                        parts.append({"text": text, "thought": True, "thoughtSignature": own[1]})
                    else:
                        signatures[own[0]] = own[1]
                case Thinking() | RedactedThinking():
                    self._notes.dropped("messages.thinking", turn.place)  # dropped: another model's, or unsigned
                case _:
                    pass
        texts = [{"text": block.text} for block in turn.blocks if isinstance(block, Text | Refusal)]
        if text_signature := signatures.get(TEXT):
            texts = texts or [{"text": ""}]
            texts[-1]["thoughtSignature"] = text_signature
        written = [self._call(call, signatures.get(CALL + call.id)) for call in calls]
        if written and self._traits.gemini >= (3, 0) and not any("thoughtSignature" in part for part in written):
            written[0]["thoughtSignature"] = UNSIGNED
            self._notes.add("added", "thought_signature")
        return parts + texts + written

    def _call(self, call: ToolUse, signature: str | None) -> Part:
        function: Part = {"name": self._names.sent(call.name), "args": msgspec.Raw(call.arguments.encode())}
        if self._knows_ids:
            function["id"] = call.id
        return {"functionCall": function} | ({} if signature is None else {"thoughtSignature": signature})

    # --- the user ---

    def _said_by_user(self, turn: Turn, calls: Sequence[ToolUse]) -> list[Part]:
        """Results first, in the order of their calls: without ids that is what pairs them."""
        results = {block.tool_use_id: block for block in turn.blocks if isinstance(block, ToolResult)}
        moved: list[Part] = []
        parts = [self._result(results[call.id], call, moved) for call in calls if call.id in results]
        others = [self._part(block, turn.place) for block in turn.blocks if not isinstance(block, ToolResult)]
        return parts + moved + others

    def _result(self, result: ToolResult, call: ToolUse, moved: list[Part]) -> Part:
        texts: list[str] = []
        for block in result.content:
            if isinstance(block, Text):
                texts.append(block.text)
            else:
                self._notes.add("moved", "tool_result.content")
                texts.append(f"[see the attachment of {call.id} after the results]")
                moved += [{"text": f"[attachment of {call.id}]"}, self._part(block, result.place)]
        response: Part = {
            "name": self._names.sent(call.name),
            "response": {"error" if result.is_error else "output": "\n".join(texts)},
        }
        if self._knows_ids:
            response["id"] = call.id
        return {"functionResponse": response}

    def _part(self, block: Block, place: str) -> Part:
        match block:
            case Text(text) | Refusal(text):
                return {"text": text}
            case Image(Inline() as inline) | Document(Inline() as inline) | Audio(inline):
                return {"inlineData": {"mimeType": inline.media_type, "data": inline.data}}
            case Image(Link(url)):
                return self._file(url, "image/jpeg", place)
            case Document(Link(url)):
                return self._file(url, PDF, place)
            case Document(Text(text), title):
                self._notes.add("rewritten", "document")
                return {"text": f"{title}\n\n{text}" if title else text}
            case _:
                raise BadField(place, "holds content that is not possible in a message of the user.")

    def _file(self, url: str, usual_type: str, place: str) -> Part:
        """An address that the vendor fetches. It wants the type told; where the address does not, the usual one is."""
        if self._traits.gemini < (2, 5):
            raise BadField(place, "the host of this model fetches no addresses; send the data.")
        guessed, _ = mimetypes.guess_type(url.partition("?")[0].partition("#")[0])
        return {"fileData": {"mimeType": guessed or usual_type, "fileUri": url}}
