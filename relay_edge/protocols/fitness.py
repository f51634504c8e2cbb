"""What a call asks of a model, held against what the model takes, before it is written for a host. Pure."""

from collections.abc import Iterable, Sequence

from relay_contract.errors import BadField
from relay_edge.protocols.canonical import Audio, Block, Document, Image, OutputSchema, Request, Role, ToolResult, Turn
from relay_edge.protocols.fields import encode
from relay_edge.protocols.model_traits import Sampling, Traits
from relay_edge.protocols.notes import Notes

_JSON_WANTED = "Answer with one JSON object and nothing else: no words around it, no code fence."


def check_fitness(request: Request, traits: Traits) -> None:
    """Raises BadField, by the caller's own place, for what this model cannot take at all."""
    if request.tools and not traits.takes_tools:
        raise BadField("tools", "this model calls no tools.")
    for turn in request.turns:
        _check_blocks(turn.blocks, turn.place, traits)


def _check_blocks(blocks: Iterable[Block], place: str, traits: Traits) -> None:
    for block in blocks:
        match block:
            case Image() if not traits.takes_images:
                raise BadField(place, "this model takes no images.")
            case Document() if not traits.takes_documents:
                raise BadField(place, "this model takes no documents.")
            case Audio() if not traits.takes_audio:
                raise BadField(block.place or place, "this model takes no sound.")
            case ToolResult():
                _check_blocks(block.content, block.place or place, traits)
            case _:
                pass


def check_end(turns: Sequence[Turn], traits: Traits) -> None:
    """Raises BadField where the last turn begins the model's answer and the model does not go on from it."""
    if turns and turns[-1].role is Role.ASSISTANT and not traits.takes_prefill:
        raise BadField(turns[-1].place, "this model takes no beginning of its own answer as the last message.")


def max_tokens_of(request: Request, traits: Traits, notes: Notes) -> int | None:
    """What the caller asked for, within what the model can."""
    wanted, limit = request.max_tokens, traits.max_output_tokens
    if wanted is None or limit is None or wanted <= limit:
        return wanted
    notes.add("clamped", "max_tokens")
    return limit


def sampling_of(request: Request, traits: Traits, notes: Notes) -> dict[str, float]:
    """`temperature` and `top_p` as far as the model takes them."""
    given = {"temperature": request.temperature, "top_p": request.top_p}
    wanted = {name: value for name, value in given.items() if value is not None}
    refused: Iterable[str] = ()
    if traits.is_reasoning or traits.sampling is Sampling.NOTHING:
        refused = tuple(wanted)
    elif traits.sampling is Sampling.ONE and len(wanted) == len(given):
        refused = ("top_p",)
    for name in refused:
        del wanted[name]
        notes.dropped(name)  # dropped: temperature, top_p: this model refuses them, or both together
    return wanted


def json_instruction(output: OutputSchema) -> str:
    """Words that ask for JSON, where a model cannot be held to it."""
    if output.schema is None:
        return _JSON_WANTED
    return f"{_JSON_WANTED} It has to fit this JSON schema:\n{encode(output.schema).decode()}"
