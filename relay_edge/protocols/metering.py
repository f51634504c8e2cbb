"""What a host said of its answer's cost, as the meters that prices and limits know. Pure."""

from relay_contract.usage import Usage
from relay_edge.protocols import canonical


def metered(said: canonical.Usage) -> Usage | None:
    """None where the host said nothing. A canonical `audio_*` is part of its whole, a meter never is."""
    if said == canonical.Usage():
        return None
    audio_input, audio_output = said.audio_input or 0, said.audio_output or 0
    return Usage(
        input_tokens=max(0, (said.input_uncached or 0) - audio_input),
        cache_read_tokens=said.cache_read or 0,
        cache_write_5m_tokens=said.cache_write_5m or 0,
        cache_write_1h_tokens=said.cache_write_1h or 0,
        input_audio_tokens=audio_input,
        output_tokens=max(0, (said.output or 0) - audio_output),
        output_audio_tokens=audio_output,
        reasoning_tokens=said.reasoning or 0,
        server_tool_calls=said.server_tool_requests or 0,
    )
