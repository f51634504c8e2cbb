"""Whether a model that was asked for JSON in words alone, and held to nothing, wrote it. Pure.

The answer stays as it is: who asked for JSON may want to repair it in a way of its own, and has to know that it must.
Whether the JSON fits the caller's schema is not looked at.
"""

import re
from collections.abc import Sequence

from relay_edge.protocols.canonical import Block, Text
from relay_edge.protocols.fields import object_text
from relay_edge.protocols.notes import Notes

_FENCED = re.compile(r"\s*```(?:json)?[ \t]*\r?\n(.*)\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


def note_answer(blocks: Sequence[Block], notes: Notes) -> None:
    """Notes what is between the caller and a JSON object: `fenced` for a code fence around one, `unmet` for anything
    else. Costs one pass through the text."""
    text = "".join(block.text for block in blocks if isinstance(block, Text))
    if object_text(text) is not None:
        return
    fenced = _FENCED.fullmatch(text)
    is_inside = fenced is not None and object_text(fenced[1]) is not None
    notes.add("fenced" if is_inside else "unmet", "response_format")
