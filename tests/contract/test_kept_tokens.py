"""Access tokens as they are kept: one fetch, early renewal, failures that stand, tokens that are given up."""

import asyncio
import json
import time
from dataclasses import dataclass, field

import pytest

from relay_contract import kept_tokens
from relay_contract.kept_tokens import KeptTokens
from relay_contract.oauth2 import ClientCredentials, TokenError, TokenRequest

KEY = (1, 1)
CREDENTIALS = ClientCredentials("https://login.example.com/token", "relay", "canary")


@dataclass
class Clock:
    """The time of day and the monotonic one, moved by hand."""

    now: float = 1_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@dataclass
class Endpoint:
    """A token endpoint; `answers` one after the other, the last for ever."""

    answers: list[tuple[int, dict[str, object]]]
    requests: list[TokenRequest] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[str] = field(default_factory=list)

    async def ask(self, request: TokenRequest) -> tuple[int, bytes]:
        self.requests.append(request)
        await self.opened.wait()
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return status, json.dumps(body).encode()

    def tokens(self) -> KeptTokens:
        return KeptTokens(self.ask, lambda key, error: self.failures.append(f"{key[0]}: {error.text}"))


def good(value: str, expires_in: int = 3600) -> tuple[int, dict[str, object]]:
    return 200, {"access_token": value, "expires_in": expires_in}


REFUSED: tuple[int, dict[str, object]] = (401, {"error": "invalid_client"})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.time)
    monkeypatch.setattr(kept_tokens, "time", clock)
    return clock


def opened(*answers: tuple[int, dict[str, object]]) -> Endpoint:
    endpoint = Endpoint(list(answers))
    endpoint.opened.set()
    return endpoint


async def value(tokens: KeptTokens, key: tuple[int, int] = KEY) -> str:
    return (await tokens.token(key, CREDENTIALS)).value


async def renewed(tokens: KeptTokens) -> None:
    """What was begun in the background has ended."""
    await asyncio.gather(*tokens._fetches.values(), return_exceptions=True)
    await asyncio.sleep(0)  # for what follows of it


async def test_one_fetch_serves_everybody_who_waits() -> None:
    endpoint = Endpoint([good("one")])
    tokens = endpoint.tokens()
    waiting = [asyncio.create_task(value(tokens)) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # whoever asked first leaves; the others get the token all the same
    endpoint.opened.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["one"] * 49
    assert len(endpoint.requests) == 1
    assert await value(tokens, (1, 2)) == "one"  # another version of the target
    assert len(endpoint.requests) == 2


async def test_the_next_token_is_fetched_while_this_one_is_used(clock: Clock) -> None:
    endpoint = opened(good("one"), good("two"))
    tokens = endpoint.tokens()
    assert await value(tokens) == "one"
    clock.now += 3540 * 0.8 - 1
    assert await value(tokens) == "one"
    assert len(endpoint.requests) == 1
    clock.now += 1
    assert [await value(tokens), await value(tokens)] == ["one", "one"]
    await renewed(tokens)
    assert await value(tokens) == "two"
    assert len(endpoint.requests) == 2


async def test_a_renewal_that_fails_costs_no_call_its_token(clock: Clock) -> None:
    endpoint = opened(good("one"), (503, {}), good("two"))
    tokens = endpoint.tokens()
    assert await value(tokens) == "one"
    clock.now += 3539
    for _ in range(3):
        assert await value(tokens) == "one"
        await renewed(tokens)
    assert endpoint.failures == ["1: The token endpoint answered 503."]  # it stands: nobody asks again at once
    clock.now += kept_tokens.FAILURE_SECONDS
    assert await value(tokens) == "two"  # the first one is over


@pytest.mark.parametrize(
    ("answer", "seconds"), [(REFUSED, kept_tokens.REFUSAL_SECONDS), ((500, {}), kept_tokens.FAILURE_SECONDS)]
)
async def test_a_failure_stands_for_a_moment(
    clock: Clock, answer: tuple[int, dict[str, object]], seconds: float
) -> None:
    endpoint = opened(answer, good("one"))
    tokens = endpoint.tokens()
    for after in (0, seconds - 0.5):
        clock.now += after
        with pytest.raises(TokenError) as caught:
            await value(tokens)
        assert "canary" not in str(caught.value)
    assert len(endpoint.requests) == len(endpoint.failures) == 1
    clock.now += 0.5
    assert await value(tokens) == "one"


async def test_a_refused_token_is_given_up_once_in_a_while(clock: Clock) -> None:
    endpoint = opened(good("one"), good("two"), good("three"))
    tokens = endpoint.tokens()
    first = await tokens.token(KEY, CREDENTIALS)
    assert tokens.can_give_up(KEY)
    for _ in range(5):  # five calls were under way with it
        tokens.give_up(KEY, first)
    second = await tokens.token(KEY, CREDENTIALS)
    assert second.value == "two"
    assert not tokens.can_give_up(KEY)
    tokens.give_up(KEY, second)
    assert await tokens.token(KEY, CREDENTIALS) is second
    clock.now += kept_tokens.GIVE_UP_SECONDS
    tokens.give_up(KEY, first)  # a late answer to the one before says nothing of this one
    assert await tokens.token(KEY, CREDENTIALS) is second
    tokens.give_up(KEY, second)
    assert await value(tokens) == "three"


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_tokens, "MAX_KEPT", 2)
    endpoint = opened(good("one"))
    tokens = endpoint.tokens()
    for target in (1, 2, 3, 3, 2, 1):
        await value(tokens, (target, 1))
    assert len(endpoint.requests) == 4  # of them only the first had to go


async def test_credentials_that_no_request_carries_are_the_one_error() -> None:
    tokens = opened(good("one")).tokens()
    with pytest.raises(TokenError, match="characters"):
        await tokens.token(KEY, ClientCredentials("https://x/\udc80", "i", "s\udc80"))


async def test_fetches_end_with_the_process() -> None:
    tokens = Endpoint([good("never")]).tokens()
    waiting = asyncio.create_task(value(tokens))
    await asyncio.sleep(0)
    await tokens.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
