"""Addresses of the vendors that the relay does not serve: said in the vendor's form, so that its SDK can read it."""

import pytest

from relay_contract.nouns import WireShape
from tests.edge.fault_vendor import ANTHROPIC, OPENAI
from tests.edge.plane import catalog_of, running_plane
from tests.edge.test_inference import error_of


@pytest.mark.parametrize(
    ("path", "line", "shape"),
    [
        ("/v1/files", "", OPENAI),
        ("/openai/v1/batches", "", OPENAI),
        ("/v1/responses/resp_1?a=b", "", OPENAI),
        ("/v1/messages/batches", "", ANTHROPIC),
        ("/anthropic/v1/files", "", ANTHROPIC),
        ("/v1/files", "anthropic-version: 2023-06-01", ANTHROPIC),
    ],
)
async def test_what_is_not_served_is_said_in_the_vendors_form(path: str, line: str, shape: WireShape) -> None:
    async with running_plane(catalog_of()) as plane:
        answer = await plane.post({}, *[line] * bool(line), path=path)
        assert (answer.status, answer.headers["x-relay-error-source"]) == (404, "client")
        kind, message = error_of(shape, answer.json)
        assert kind == "not_found_error"
        assert "/passthrough/" in message
