"""The Python SDK beside a transport that answers as it is told: retries, bearers, what is never repeated."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import relay_sdk
from relay_sdk import Relay, Retries, Tokens, UserTokens
from relay_sdk.oauth import Application

QUICK = Retries(first_wait_seconds=0.001)
QUEUED = httpx2.Response(202, json={"status": "queued", "requestId": "r-1"}, headers={"x-request-id": "r-1"})


def copied(request: httpx2.Request) -> httpx2.Request:
    """As it is now: a call that is made once more is the same object with another bearer."""
    return httpx2.Request(request.method, request.url, headers=request.headers, content=request.content)


class Server:
    """Answers with what is next, and remembers what it was asked."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.left, self.asked = list(answers), list[httpx2.Request]()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(copied(request))
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def relay(self, **options: Any) -> Relay:
        http = httpx2.Client(transport=httpx2.MockTransport(self))
        return Relay("http://relay.test", **{"api_key": "rk_live_x", "retries": QUICK, "http_client": http} | options)


def refused(code: str, status: int, **headers: str) -> httpx2.Response:
    told = {"x-relay-error-source": "relay", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx2.Response(status, json={"error": code, "message": "No."}, headers=told)


def test_a_queued_call() -> None:
    server = Server(QUEUED)
    answer = server.relay().send("shop", "v1", "orders", {"id": 42}, idempotency_key="order-42")
    assert (answer.is_queued, answer.request_id, answer.status) == (True, "r-1", 202)
    [asked] = server.asked
    assert (asked.method, str(asked.url)) == ("POST", "http://relay.test/r/shop/v1/orders")
    assert (asked.headers["authorization"], asked.headers["idempotency-key"]) == ("Bearer rk_live_x", "order-42")
    assert json.loads(asked.content) == {"id": 42}


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_what_a_sync_target_answers_is_returned(status: int) -> None:
    server = Server(httpx2.Response(status, content=b"[1]", headers={"x-relay-target": "lookup"}))
    answer = server.relay().send("shop", "v1", "lookup", {})
    assert (answer.is_queued, answer.status, answer.target, answer.json()) == (False, status, "lookup", [1])


@pytest.mark.parametrize(
    "place", [("shop", "v1", "../../v1/models"), ("", "v1", "x"), ("a b", "v1", "x"), ("a", "v1?x", "y")]
)
def test_a_name_that_is_none_is_refused_before_anything_is_sent(place: tuple[str, str, str]) -> None:
    server = Server()
    with pytest.raises(ValueError, match="is no name"):
        server.relay().send(*place, {})
    assert server.asked == []


UNSURE = [httpx2.ReadError("cut"), httpx2.ReadTimeout("late"), refused("accept_unavailable", 503),
          refused("internal_error", 500), refused("idempotency_in_progress", 409)]  # fmt: skip


@pytest.mark.parametrize("failure", UNSURE, ids=str)
def test_a_call_that_may_have_been_made_is_not_made_again(failure: httpx2.Response | Exception) -> None:
    server = Server(failure, QUEUED)
    with pytest.raises(relay_sdk.RelayError) as caught:
        server.relay().send("shop", "v1", "orders", {})
    assert len(server.asked) == 1
    if isinstance(caught.value, relay_sdk.Unreachable):
        assert caught.value.was_sent


@pytest.mark.parametrize("failure", UNSURE, ids=str)
def test_with_an_idempotency_key_it_is(failure: httpx2.Response | Exception) -> None:
    server = Server(failure, QUEUED)
    assert server.relay().send("shop", "v1", "orders", {"id": 1}, idempotency_key="k").is_queued
    first, second = server.asked
    assert (first.content, first.headers["idempotency-key"]) == (second.content, second.headers["idempotency-key"])


@pytest.mark.parametrize(
    "failure", [httpx2.ConnectError("no"), refused("rate_limited", 429), refused("shutting_down", 503)], ids=str
)
def test_a_call_that_was_surely_not_made_is_made_again(failure: httpx2.Response | Exception) -> None:
    server = Server(failure, QUEUED)
    assert server.relay().send("shop", "v1", "orders", {}).is_queued


def test_retries_end() -> None:
    server = Server(*[refused("rate_limited", 429)] * 5)
    with pytest.raises(relay_sdk.RateLimited):
        server.relay().send("shop", "v1", "orders", {})
    assert len(server.asked) == 3


def test_retry_after_is_waited_for_and_told_where_it_is_too_long() -> None:
    server = Server(refused("rate_limited", 429, retry_after="0"), QUEUED)
    assert server.relay().send("shop", "v1", "orders", {}).is_queued
    server = Server(refused("rate_limited", 429, retry_after="3600"), QUEUED)
    with pytest.raises(relay_sdk.RateLimited) as caught:
        server.relay().send("shop", "v1", "orders", {})
    assert (len(server.asked), caught.value.retry_after_seconds) == (1, 3600)
    assert Retries().wait_before(1, caught.value, is_repeatable=True) is None


def test_a_caller_who_is_wrong_is_not_tried_again() -> None:
    server = Server(refused("endpoint_not_found", 404), QUEUED)
    with pytest.raises(relay_sdk.InvalidCall, match="Check project, line and endpoint"):
        server.relay().send("shop", "v1", "orders", {}, idempotency_key="k")
    assert len(server.asked) == 1


def provider(*tokens: str) -> Callable[..., str]:
    """One that gives the next for each that is refused."""
    left = list(tokens)

    def token(*, refused: str | None = None) -> str:
        if refused == left[0] and len(left) > 1:
            left.pop(0)
        return left[0]

    return token


def test_a_refused_token_is_renewed_once_and_the_call_made_once_more() -> None:
    server = Server(refused("token_expired", 401), QUEUED)
    assert (
        server.relay(api_key=None, token_provider=provider("a", "b")).send("shop", "v1", "orders", {"x": 1}).is_queued
    )
    assert [one.headers["authorization"] for one in server.asked] == ["Bearer a", "Bearer b"]
    assert server.asked[0].content == server.asked[1].content
    server = Server(refused("token_revoked", 401), refused("token_revoked", 401))
    with pytest.raises(relay_sdk.Unauthenticated):
        server.relay(api_key=None, token_provider=provider("a", "b")).send("shop", "v1", "orders", {})
    assert len(server.asked) == 2


def test_a_refused_key_is_not_shown_again() -> None:
    server = Server(refused("key_revoked", 401))
    with pytest.raises(relay_sdk.Unauthenticated, match="Ask the project's owner"):
        server.relay().send("shop", "v1", "orders", {})


async def test_an_awaited_provider() -> None:
    server = Server(refused("token_expired", 401), QUEUED)
    tokens = provider("a", "b")

    async def awaited(*, refused: str | None = None) -> str:
        return tokens(refused=refused)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(server))
    async with http, relay_sdk.AsyncRelay("http://relay.test", token_provider=awaited, http_client=http) as relay:
        assert (await relay.send("shop", "v1", "orders", {})).is_queued
    http_of_a_plain_one = httpx2.Client(transport=httpx2.MockTransport(server))
    with pytest.raises(TypeError, match="AsyncRelay"):
        Relay("http://relay.test", token_provider=awaited, http_client=http_of_a_plain_one).send("a", "b", "c", {})  # type: ignore[arg-type]


def test_vendors_clients_show_the_bearer_and_no_other_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-vendor")
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    server = Server(refused("token_expired", 401), httpx2.Response(200, json=message))
    relay = server.relay(api_key=None, token_provider=provider("a", "b"))
    http = httpx2.Client(transport=httpx2.MockTransport(server), auth=relay.auth)
    answer = relay.anthropic(http_client=http, max_retries=0).messages.create(
        model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}]
    )
    assert answer.stop_reason == "end_turn"
    for asked, token in zip(server.asked, "ab", strict=True):
        assert asked.headers["authorization"] == f"Bearer {token}"
        assert "x-api-key" not in asked.headers
    assert str(server.asked[0].url) == "http://relay.test/v1/messages"
    with relay.openai() as client:
        assert (str(client.base_url), client.api_key) == ("http://relay.test/v1/", "put-there-by-relay-sdk")


@pytest.mark.parametrize("arguments", [{}, {"api_key": "a", "token_provider": provider("b")}])
def test_one_credential_is_asked_for(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELAY_KEY", raising=False)
    with pytest.raises(ValueError, match="api_key"):
        Relay("http://relay.test", **arguments)


def test_addresses_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RELAY_URL", "RELAY_CONTROL_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="RELAY_URL"):
        Relay(api_key="k")
    with pytest.raises(ValueError, match="no address"):
        Relay("file:///etc", api_key="k")
    with pytest.raises(ValueError, match="control plane"):
        _ = Relay("http://relay.test", api_key="k").account


WALLET = {"id": 3, "mode": "live", "balance": 9, "held": 2, "available": 7}


@pytest.mark.parametrize(
    ("bearer", "asked", "answer", "path"),
    [
        ("rk_live_x", {}, {"wallet": WALLET}, "relay-keys/self"),
        ("rk_live_x", {"project": "shop"}, {"results": [WALLET]}, "wallets?project=shop&mode=live&limit=1"),
        ("ra_x", {}, {"results": [WALLET]}, "wallets?mode=live&limit=1"),
    ],
)
async def test_a_balance(bearer: str, asked: dict[str, str], answer: dict[str, Any], path: str) -> None:
    server = Server(*[httpx2.Response(200, json=answer)] * 2)
    at = {"control_url": "http://control.test", "api_key": bearer}
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(server))
    found = server.relay(**at).account.balance(**asked)
    async with http, relay_sdk.AsyncRelay("http://relay.test", **at, http_client=http) as relay:
        assert await relay.account.balance(**asked) == found
    assert (found.available, found.held) == (7, 2)
    assert [str(one.url) for one in server.asked] == [f"http://control.test/api/v1/{path}"] * 2


@pytest.mark.parametrize("answer", [{"wallet": None}, {"results": []}])
def test_no_wallet(answer: dict[str, Any]) -> None:
    with pytest.raises(relay_sdk.NoWallet):
        Server(httpx2.Response(200, json=answer)).relay(control_url="http://control.test").account.balance()


async def test_rows_come_page_by_page() -> None:
    pages = [{"results": [{"id": 1}], "next": 1}, {"results": [{"id": 2}], "next": None}]
    server = Server(*[httpx2.Response(200, json=page) for page in pages * 2])
    relay = server.relay(control_url="http://control.test")
    assert [row["id"] for row in relay.account.calls(project="shop")] == [1, 2]
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(server))
    async with (
        http,
        relay_sdk.AsyncRelay(
            "http://relay.test", control_url="http://control.test", api_key="rk_live_x", http_client=http
        ) as awaited,
    ):
        assert [row["id"] async for row in awaited.account.calls(project="shop")] == [1, 2]
    assert [one.url.params.get("after") for one in server.asked] == [None, "1"] * 2


def test_a_key_is_in_no_text() -> None:
    relay = Server().relay()
    assert "rk_live_x" not in repr(vars(relay.auth))


class SignIns(Server):
    """A token endpoint: each refresh token is good for one renewal."""

    def __init__(self) -> None:
        super().__init__()
        self.good, self.number = "r0", 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        form = dict(part.split("=") for part in request.content.decode().split("&"))
        if form["refresh_token"] != self.good:
            return httpx2.Response(400, json={"error": "invalid_grant", "error_description": "Used twice."})
        self.number += 1
        self.good = f"r{self.number}"
        return httpx2.Response(
            200, json={"access_token": f"a{self.number}", "refresh_token": self.good, "expires_in": 600}
        )

    def application(self) -> Application:
        return Application("http://control.test", "app_1", httpx2.Client(transport=httpx2.MockTransport(self)))


def test_many_threads_renew_once() -> None:
    server, saved = SignIns(), list[Tokens]()
    tokens = UserTokens(server.application(), Tokens("a0", "r0", time.time() - 1), save=saved.append)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(tokens())) for _ in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (set(found), len(server.asked), [one.refresh_token for one in saved]) == ({"a1"}, 1, ["r1"])


async def test_an_event_loop_goes_on_while_a_token_is_renewed() -> None:
    is_renewing, went_on, waited = threading.Event(), threading.Event(), list[bool]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "control.test":
            is_renewing.set()
            waited.append(went_on.wait(5))  # what only the event loop ends
            return sign_ins(request)
        return httpx2.Response(200, json={"bearer": request.headers["authorization"]})

    sign_ins = SignIns()
    application = Application("http://control.test", "app_1", httpx2.Client(transport=httpx2.MockTransport(answer)))
    tokens = UserTokens(application, Tokens("a0", "r0", 0))
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with http, relay_sdk.AsyncRelay("http://relay.test", token_provider=tokens, http_client=http) as relay:
        sending = asyncio.create_task(relay.send("shop", "v1", "lookup", {}))
        assert await asyncio.to_thread(is_renewing.wait, 20)
        went_on.set()
        assert (await sending).json() == {"bearer": "Bearer a1"}
    assert waited == [True]


def test_another_process_renewed_it() -> None:
    server = SignIns()
    kept = Tokens("a7", "r7", time.time() + 600)
    tokens = UserTokens(server.application(), Tokens("a0", "r0", time.time() - 1), load=lambda: kept)
    assert (tokens(), server.asked) == ("a7", [])


def test_a_token_that_others_refused_is_renewed_before_its_end() -> None:
    server = SignIns()
    tokens = UserTokens(server.application(), Tokens("a0", "r0", time.time() + 600))
    assert tokens() == "a0"
    assert tokens(refused="a0") == "a1"
    assert tokens(refused="a0") == "a1"
    assert len(server.asked) == 1


def test_a_sign_in_that_ended_says_so() -> None:
    server = SignIns()
    server.good = "stolen"
    with pytest.raises(relay_sdk.SignInFailed, match="Used twice") as caught:
        UserTokens(server.application(), Tokens("a0", "r0", 0))()
    assert caught.value.code == "invalid_grant"
    with pytest.raises(relay_sdk.SignInFailed, match="Sign in again"):
        UserTokens(server.application(), Tokens("a0", "", 0))()


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text="<h1>Welcome</h1>"),
        httpx2.Response(200, text="{", headers={"content-type": "application/json"}),
        httpx2.Response(200, json=["a"]),
        httpx2.Response(200, json={"access_token": "a", "expires_in": "soon"}),
    ],
)
def test_another_server_is_no_control_plane(answer: httpx2.Response) -> None:
    transport = httpx2.MockTransport(lambda _: answer)
    application = Application("http://control.test", "app_1", httpx2.Client(transport=transport))
    with pytest.raises(relay_sdk.SignInFailed, match="Is it the control plane's address"):
        application.refresh("r0")
    with pytest.raises(relay_sdk.SignInFailed, match="Is it the control plane's address"):
        application.device_code()


def test_a_device_waits_as_it_is_told() -> None:
    said = {
        "device_code": "d",
        "user_code": "ABCD-EFGH",
        "verification_uri": "http://x",
        "expires_in": 600,
        "interval": 5,
    }
    pair = {"access_token": "a", "refresh_token": "r", "expires_in": 600}
    answers = [httpx2.Response(400, json={"error": code}) for code in ("authorization_pending", "slow_down")]
    server = Server(
        httpx2.Response(200, json=said), *answers, httpx2.ConnectError("away"), httpx2.Response(200, json=pair)
    )
    application = Application("http://control.test", "app_1", httpx2.Client(transport=httpx2.MockTransport(server)))
    waits: list[float] = []
    tokens = application.wait_for(application.device_code(), sleep=waits.append)
    assert (tokens.access_token, waits) == ("a", [5, 5, 10, 15])
    assert "r" not in repr(tokens).partition("=")[2]


def test_a_device_that_was_refused_says_so() -> None:
    said = {"device_code": "d", "user_code": "A", "verification_uri": "http://x", "expires_in": 600}
    server = Server(httpx2.Response(200, json=said), httpx2.Response(400, json={"error": "access_denied"}))
    application = Application("http://control.test", "app_1", httpx2.Client(transport=httpx2.MockTransport(server)))
    with pytest.raises(relay_sdk.SignInFailed, match="access_denied"):
        application.wait_for(application.device_code(), sleep=lambda _seconds: None)
