"""What one attempt carries for a target with needs: the mapped body and headers, and the credentials.

Nothing here talks to the target. A mapping is worked out anew for each attempt, since a retry goes by the configuration
of its time; the stored body stays as it came.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC

from delivery.attempt import Claim, Fault, Needs
from relay_contract.kept_tokens import KeptTokens
from relay_contract.oauth2 import Token, TokenError
from relay_contract.shaping.facts import Facts
from relay_contract.shaping.mapping import Mapping, Shaped
from relay_contract.shaping.run import MappingError

IN_THREAD_BYTES = 32_768
"""A longer body is mapped in a thread: decoding takes 10 us per KB, and the language allows 30 ms and more of work."""


class NotSendable(Exception):
    """The attempt ends before anything was sent. `text` is for the attempt's log and quotes no secret and no body."""

    def __init__(self, fault: Fault, text: str) -> None:
        self.fault = fault
        self.text = text
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Outfit:
    """`shaped` None: there is no mapping. `authorization` "": no such header of ours."""

    shaped: Shaped | None
    authorization: str
    token: Token | None  # that `authorization` holds


async def make(claim: Claim, needs: Needs, body: bytes, tokens: KeptTokens, deadline: float) -> Outfit:
    """What this attempt carries. Raises NotSendable. `deadline`: of the event loop's clock."""
    shaped = None if needs.mapping is None else await _shaped(needs.mapping, claim, body)
    if needs.credentials is None:
        return Outfit(shaped, needs.authorization, None)
    try:
        async with asyncio.timeout_at(deadline):
            token = await tokens.token((claim.target_id, claim.target_version), needs.credentials)
    except TokenError as error:
        raise NotSendable(Fault.TOKEN_UNAVAILABLE, error.text) from None
    except TimeoutError:
        text = "The token endpoint did not answer within the target's own deadline."
        raise NotSendable(Fault.TOKEN_UNAVAILABLE, text) from None
    return Outfit(shaped, token.authorization(), token)


async def _shaped(mapping: Mapping, claim: Claim, body: bytes) -> Shaped:
    facts = Facts(
        body=body,
        headers={**claim.request_headers, "content-type": claim.content_type},
        event_type=claim.call.event_type,
        method=claim.call.method,
        path=claim.call.path,
        request_id=str(claim.request_id),
        received_at="" if claim.call.received_at is None else claim.call.received_at.astimezone(UTC).isoformat(),
    )
    try:
        if len(body) > IN_THREAD_BYTES:
            return await asyncio.to_thread(mapping, facts)
        return mapping(facts)
    except MappingError as error:
        raise NotSendable(Fault.MAPPING_FAILED, str(error)) from None
