"""Gemini's generateContent (ai.google.dev/api/generate-content, read 2026-11). The base URL ends with the version, e.g.
https://generativelanguage.googleapis.com/v1beta."""

from collections.abc import Mapping
from urllib.parse import quote

from relay_contract.nouns import WireShape
from relay_edge.protocols.surface import HostSurface, sound_header


def upstream_path(upstream_name: str, is_stream: bool) -> str:
    """The model stands in the path; a name with a slash (`tunedModels/x`) is a whole resource."""
    resource = upstream_name if "/" in upstream_name else f"models/{upstream_name}"
    method = "streamGenerateContent?alt=sse" if is_stream else "generateContent"
    return f"/{quote(resource, safe='/-._~@+')}:{method}"


def credential_lines(value: str) -> bytes:
    """A host key in a header: in the URL, as the vendor also takes it, it would end up in logs."""
    return sound_header("x-goog-api-key", value)


def caller_lines(_headers: Mapping[str, str]) -> bytes:
    """None: no caller speaks this shape."""
    return b""


SURFACE = HostSurface(
    shape=WireShape.GEMINI,
    upstream_path=upstream_path,
    credential_lines=credential_lines,
    caller_lines=caller_lines,
)
