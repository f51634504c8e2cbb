"""Every command of `docs/origin-shield.md`, run in its order as it stands there, and what the page says it prints."""

import re
import subprocess

import pytest

from tests.system.product import ROOT, Product

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

PAGE = (ROOT / "docs" / "origin-shield.md").read_text(encoding="utf-8")
LINES = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)).splitlines()


def test_the_page_is_true(product: Product) -> None:
    commands = "\n".join(line[2:] for line in LINES if line.startswith("$ "))
    script = (
        commands.replace("http://127.0.0.1:8080", product.edge_url)
        .replace("http://127.0.0.1:8081", product.control_url)
        .replace(".relay/credentials.json", str(product.home / "credentials.json"))
    )
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    expected = [line for line in LINES if not line.startswith("$ ")]
    printed = [re.sub(r'(?<="requestId":|viousUntil":)"[^"]+"', '"..."', line) for line in done.stdout.splitlines()]
    assert printed == expected
