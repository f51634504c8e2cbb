"""compose.yaml and the Dockerfile, as far as they can be checked without containers."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
OURS = {"migrate", "control", "edge", "worker", "worker-sync", "schedule"}


def test_it_has_every_process_of_the_product() -> None:
    assert set(SERVICES) == OURS | {"postgres", "valkey"}
    assert {SERVICES[name]["image"] for name in OURS} == {"relay"}
    assert SERVICES["postgres"]["image"] == "postgres:18"
    assert SERVICES["valkey"]["image"] == "valkey/valkey:9"


def test_no_password_has_a_default() -> None:
    secret = re.compile(r"PASSWORD|SECRET|MASTER_KEY|TOKEN")
    references = re.findall(r"(?<!\$)\$\{([A-Z_]+)(:?[-?])?", TEXT)
    assert {name for name, _ in references if secret.search(name)} == {
        *("POSTGRES_PASSWORD", "EDGE_POSTGRES_PASSWORD", "VALKEY_PASSWORD", "RELAY_MASTER_KEY", "RELAY_SECRET_KEY"),
        "RELAY_BOOTSTRAP_ADMIN_PASSWORD",
    }
    assert {mark for name, mark in references if secret.search(name)} == {":?"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_every_service_that_stays_has_a_health_check_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(OURS - {"migrate"}))
def test_ours_wait_for_the_migrations(name: str) -> None:
    assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_the_edge_gets_neither_the_owners_database_role_nor_djangos_key() -> None:
    assert not {"DATABASE_URL", "RELAY_SECRET_KEY"} & set(SERVICES["edge"]["environment"])
    assert "RELAY_BOOTSTRAP_ADMIN_PASSWORD" not in SERVICES["control"]["environment"]


def test_every_variable_is_described() -> None:
    described = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", TEXT))
    set_here = {name for service in OURS for name in SERVICES[service]["environment"]}
    assert (asked | set_here) - described == set()


def test_the_image_runs_as_nobody_in_particular() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert lines.count("USER relay") == 1
    assert not any("requirements-dev" in line or "requirements-standalone" in line for line in lines)
    assert any("--require-hashes -r requirements.txt" in line for line in lines)
