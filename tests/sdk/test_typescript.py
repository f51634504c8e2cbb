"""The TypeScript client: its own tests, and its contract with the running product.

`sdk/typescript/core/contract/contract.mjs` is what its user would write, with assertions. Here are the user who allows
it, the operator who grants credits, and the Python client at the other end of webhooks.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import requests
from relay_sdk import sign_webhook, verify_webhook
from relay_sdk.actions import ACTIONS

from tests.clients.environments import CHECKOUT, installed_node
from tests.system.product import Product
from tests.system.test_oauth import REDIRECT, allow, browser, make

__all__ = ["browser"]  # a fixture

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system"), pytest.mark.timeout(700)]

WORKSPACE = CHECKOUT / "sdk" / "typescript"
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"text":"å"}'


@pytest.fixture(scope="module")
def node() -> Path:
    """With the packages built."""
    found = installed_node(WORKSPACE)
    npm(found, "run", "build")
    return found


def npm(node: Path, *arguments: str) -> None:
    command = [str(node.parent / "npm"), "--silent", *arguments]
    done = subprocess.run(command, cwd=WORKSPACE, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_actions_are_those_of_python() -> None:
    source = (WORKSPACE / "core" / "src" / "actions.ts").read_text(encoding="utf-8")
    rows = dict(re.findall(r'^  (\w+): "(.*)",$', source, re.MULTILINE))
    assert len(rows) > 10
    assert rows.items() <= ACTIONS.items()


def test_its_own_tests(node: Path) -> None:
    npm(node, "test")


def test_the_contract(node: Path, product: Product, browser: requests.Session) -> None:
    made = make(product, "typescript", redirectUris=[REDIRECT], clientType="public", mode="test", policy="everything")
    signed = sign_webhook(BODY.encode(), webhook_id="from-python", secret=SECRET)
    empty(product)
    environ = {
        "PATH": os.environ["PATH"],
        "RELAY_URL": product.edge_url,
        "RELAY_CONTROL_URL": product.control_url,
        "RELAY_KEY": product.relay_key,
        "CLIENT_ID": made["clientId"],
        "REDIRECT": REDIRECT,
        "SECRET": SECRET,
        "SIGNED": json.dumps({"body": BODY, "headers": signed}),
    }
    with running(node, environ) as (told, said):
        address = line(said)
        assert address.startswith(product.control_url), address + said.read()
        tell(told, allow(browser, address).headers["Location"])
        asked = line(said)
        assert asked == "top up", asked + said.read()
        wallet = product.api("/api/v1/wallets?user=admin&mode=test")["results"][0]
        product.api(f"/api/v1/wallets/{wallet['id']}/grants", {"microcredits": 5_000_000_000, "note": "contract"})
        tell(told, "done")
        answer = line(said)
        assert answer.startswith("{"), answer + said.read()
    assert verify_webhook(BODY.encode(), json.loads(answer), SECRET).id == "from-node"
    empty(product)


def empty(product: Product) -> None:
    """Takes what the admin's wallet of test credits has: this begins with an empty one, and so do others."""
    [wallet] = product.api("/api/v1/wallets?user=admin&mode=test")["results"]
    if wallet["available"] > 0:
        taken = {"microcredits": -wallet["available"], "note": "contract", "against": "promotions"}
        product.api(f"/api/v1/wallets/{wallet['id']}/adjustments", taken)


@contextmanager
def running(node: Path, environ: dict[str, str]) -> Iterator[tuple[IO[str], IO[str]]]:
    """The program's input and output. Fails unless it ends well."""
    program = subprocess.Popen(
        [str(node), str(WORKSPACE / "core" / "contract" / "contract.mjs")],
        env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert program.stdin
    assert program.stdout
    with program:
        try:
            yield program.stdin, program.stdout
            assert program.wait(30) == 0
        finally:
            program.kill()


def line(said: IO[str]) -> str:
    return said.readline().strip()


def tell(told: IO[str], text: str) -> None:
    told.write(text + "\n")
    told.flush()
