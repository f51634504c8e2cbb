"""A request as it leaves for a host of another shape."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Written:
    """A call for a host, and what reading its answer needs."""

    body: bytes
    tool_names: Mapping[str, str]  # as the host knows them -> as the caller does; only those that differ
    output_tool: str | None  # a tool of ours whose arguments are the answer's text
