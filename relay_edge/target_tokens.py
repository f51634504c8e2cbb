"""The edge's calls to the token endpoints of stream targets (OAuth 2.0 client credentials), over the guarded pool.

A redirect is an answer like any other: the client's secret goes to the endpoint that the target names. One log line
for each fetch that failed, none for the calls that have no token for it.
"""

import logging
from functools import partial

from relay_contract import oauth2
from relay_contract.kept_tokens import KeptTokens, Key
from relay_contract.logs import log_fields
from relay_contract.oauth2 import TokenError, TokenRequest
from relay_edge.origin_urls import OriginUrl, UrlUnusableError
from relay_edge.small_answer import SmallAnswer
from relay_edge.upstream import Timeouts
from relay_edge.upstream_pool import UpstreamPool

logger = logging.getLogger(__name__)

TIMEOUTS = Timeouts(
    connect=oauth2.TIMEOUT_SECONDS / 2,
    first_byte=oauth2.TIMEOUT_SECONDS,
    idle=oauth2.TIMEOUT_SECONDS,
    total=oauth2.TIMEOUT_SECONDS,
)


def target_tokens(pool: UpstreamPool) -> KeptTokens:
    """Tokens that are asked for over this pool. Close them before it."""
    return KeptTokens(partial(_ask, pool), _tell)


async def _ask(pool: UpstreamPool, request: TokenRequest) -> tuple[int, bytes]:
    """See kept_tokens.Ask."""
    try:
        url = OriginUrl.of(request.url)
    except UrlUnusableError as problem:
        raise TokenError(f"The token endpoint's URL cannot be called: {problem}.") from None
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    head = (
        f"POST {url.path} HTTP/1.1\r\nhost: {url.authority}\r\n{lines}accept-encoding: identity\r\n"
        f"user-agent: Relay/1\r\ncontent-length: {len(request.body)}\r\n\r\n"
    )
    answer = SmallAnswer(oauth2.MAX_ANSWER_BYTES)
    failure = await pool.origin(url.scheme, url.host, url.port).exchange(
        head.encode("ascii") + request.body, answer, TIMEOUTS
    )
    if failure is not None and not answer.is_too_large:
        raise TokenError(f"The token endpoint could not be called: {failure.error.code}.")
    return answer.status, answer.body


def _tell(key: Key, error: TokenError) -> None:
    logger.error("token_unavailable", extra=log_fields(target_id=key[0], problem=error.text))
