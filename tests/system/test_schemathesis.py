"""The running control API, called by schemathesis in every way that its OpenAPI document allows and forbids.

Two callers, since the product is shared: the operator reads everything and asks what changes nothing, and the owner of
a project of their own does all that changes something. What is theirs alone can be revoked, rotated, drained and
deleted, and the demo's keys, targets, lines and wallets stay as the other tests need them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from tests.system.product import Product

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

HARMLESS = r"^(get|list|export|resolve|whoAmI|dryRun)"
"""Operations that change nothing, for the operator, who may touch everything."""
OTHERS = r"^(?!get|list|export|resolve|whoAmI|dryRun)"
"""For the owner. Their own sessions and project are all that they can end."""

FIXTURE = """
import json
from relay_admin.access.models import Membership, User
from relay_admin.access.services import admin_token_mint, relay_key_mint
from relay_admin.catalog.models import Endpoint, Line, Project
from relay_admin.catalog.services import target_create
owner = User.objects.create_user("fuzzer", "fuzzer@example.test")
project = Project.objects.create(slug="fuzzed", name="Fuzzed")
Membership.objects.create(project=project, user=owner, role="owner")
line = Line.objects.create(project=project, slug="v1")
endpoint = Endpoint.objects.create(line=line, slug="events")
target = target_create(endpoint=endpoint, name="sink", url="http://127.0.0.1:9/sink")
key = relay_key_mint(project=project, name="fuzzed", scopes=["relay"]).relay_key
token = admin_token_mint(user=owner, name="fuzzer").token
print(json.dumps({"token": token, "target_id": target.pk, "key_number": key.pk}))
"""


@dataclass(frozen=True)
class Owner:
    """Of a project that nobody else needs."""

    token: str
    parameters: dict[str, Any]


@pytest.fixture(scope="module")
def owner(product: Product) -> Owner:
    made = json.loads(product.manage("shell", "--no-imports", "-c", FIXTURE).splitlines()[-1])
    named = {"project": "fuzzed", "line": "v1", "endpoint": "events", "number": 1}
    return Owner(made.pop("token"), {f"path.{name}": value for name, value in (made | named).items()})


def complaints(product: Product, token: str, pattern: str, parameters: dict[str, Any]) -> tuple[int, list[str]]:
    """How many calls were made, and what was wrong with their answers."""
    headers = {"Authorization": f"Bearer {token}"}
    settings: dict[str, Any] = {
        "seed": 1,
        "cache": {"enabled": False},
        "headers": headers,
        "continue-on-failure": True,
        "parameters": parameters,
        "generation": {"max-examples": 3, "no-shrink": True, "database": "none"},
        # Addresses of three names leave out every one with a slash or a dot: many tries, and no fault of the API's.
        "suppress-health-check": ["filter_too_much"],
        # The coverage phase makes thousands of calls: by hand, as docs/openapi.md says.
        "phases": {"coverage": {"enabled": False}, "stateful": {"enabled": False}},
        # Bodies name rows, most of which there are not, and the API says so with a 400.
        "checks": {"positive_data_acceptance": {"enabled": False}},
    }
    url = f"{product.control_url}/api/v1/openapi.json"
    api = schemathesis.openapi.from_url(url, headers=headers, config=SchemathesisConfig.from_dict(settings))
    found = list(from_schema(api.include(operation_id_regex=pattern)).execute())
    scenarios = [event for event in found if isinstance(event, events.ScenarioFinished)]
    broken = [f"{event.label}: {event.value}" for event in found if isinstance(event, events.NonFatalError)]
    broken += [f"{event.exception!r}" for event in found if isinstance(event, events.FatalError)]
    return sum(len(each.recorder.cases) for each in scenarios), [*broken, *_failed(scenarios)]


def _failed(scenarios: list[events.ScenarioFinished]) -> Iterator[str]:
    for scenario in scenarios:
        for case, checks in scenario.recorder.checks.items():
            for check in checks:
                if check.failure_info is not None:
                    failure, call = check.failure_info.failure, scenario.recorder.cases[case].value.as_curl_command()
                    yield f"{scenario.label} {check.name}: {failure.title}\n{failure.message}\n{call}"


def test_what_changes_nothing_is_as_documented(product: Product) -> None:
    calls, found = complaints(product, product.credentials["admin_token"], HARMLESS, {})
    assert not found, "\n\n".join(found)
    assert calls >= 100


def test_what_changes_something_is_as_documented(product: Product, owner: Owner) -> None:
    calls, found = complaints(product, owner.token, OTHERS, owner.parameters)
    assert not found, "\n\n".join(found)
    assert calls >= 100
