"""A worker's calls to the token endpoints of targets (OAuth 2.0 client credentials), one file's worth of I/O.

The session must have the address guard; what a token endpoint redirects to is not followed.
"""

from functools import partial
from ipaddress import IPv4Network, IPv6Network

import aiohttp
from yarl import URL

from delivery import faults
from relay_contract import netguard, oauth2
from relay_contract.kept_tokens import KeptTokens
from relay_contract.oauth2 import TokenError, TokenRequest

_ANY_ADDRESS = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


def target_tokens(session: aiohttp.ClientSession) -> KeptTokens:
    """Tokens that are asked for over this session. Close them before it."""
    return KeptTokens(partial(_ask, session))


async def _ask(session: aiohttp.ClientSession, request: TokenRequest) -> tuple[int, bytes]:
    """See kept_tokens.Ask."""
    try:
        # Only the form: the address is judged when it is connected to, as a target's is.
        netguard.check_url(request.url, allowed=_ANY_ADDRESS)
        return await _post(session, request)
    except netguard.UrlRefused as refused:
        raise TokenError(f"The token endpoint's URL cannot be called. {refused}") from None
    except TimeoutError:
        raise  # all of it has one deadline
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TokenError(f"The token endpoint could not be called: {faults.fault_of(error)}.") from None


async def _post(session: aiohttp.ClientSession, request: TokenRequest) -> tuple[int, bytes]:
    body = bytearray()
    async with session.post(
        URL(request.url, encoded=True), data=request.body, headers=request.headers, allow_redirects=False
    ) as response:
        while chunk := await response.content.readany():
            body += chunk
            if len(body) > oauth2.MAX_ANSWER_BYTES:
                response.close()  # not released: the rest of the answer would have to be read first
                break
        return response.status, bytes(body)
