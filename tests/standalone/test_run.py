"""`python -m standalone run` where it must refuse to start, and what it would start. Starting it is tests/system's."""

import os
import re
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from relay_contract.env import ConfigurationError
from standalone import embedded, product
from standalone.home import Home, Secrets

ROOT = Path(__file__).resolve().parent.parent.parent
PORTS = ("RELAY_PORT", "RELAY_CONTROL_PORT", "RELAY_DEMO_VENDOR_PORT", "RELAY_DEMO_SINK_PORT")


def run(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "RELAY_HOME": str(home),
        **{name: str(embedded.free_port()) for name in PORTS},
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "standalone", "run"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_busy_port_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path / "home", RELAY_CONTROL_PORT=str(port))
    assert done.returncode == 1
    assert f"Port {port} is in use by " in done.stderr
    assert f"choose another: RELAY_CONTROL_PORT={port + 100} make run" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home" / "postgres").exists()


def test_a_second_relay_on_the_home_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    done = run(tmp_path / "home")
    home.close()
    assert done.returncode == 1
    assert f"A relay is already running on {tmp_path / 'home'}." in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_variables_are_named_together(tmp_path: Path) -> None:
    done = run(tmp_path / "home", RELAY_PORT="http", RELAY_WORKERS="0")
    assert done.returncode == 1
    assert "RELAY_PORT is wrong; expected a whole number from 1 to 65535, got 'http'" in done.stderr
    assert "RELAY_WORKERS is wrong" in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_wrong_database_url_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL is wrong") as refused:
        product.read_options({"DATABASE_URL": "mysql://me:secret@host/db"})
    assert "secret" not in str(refused.value)


def test_no_secret_is_on_a_command_line_and_each_process_has_only_its_own() -> None:
    options = product.read_options({"RELAY_WORKERS": "2"})
    secrets = Secrets.new()
    own = product.variables(options, secrets, "postgresql://relay:owner-pw@127.0.0.1:5/postgres", "redis://:pw@h:6/0")
    base = product.environment(options, own)
    started = product.demo_programs(base, options, secrets) + product.programs(base, options)
    assert [program.name for program in started] == [
        "vendor",
        "sink",
        "edge",
        "control",
        "worker1",
        "worker2",
        "worker-sync",
        "schedule",
    ]
    words = " ".join(word for program in started for word in program.command)
    words += " ".join(product.prepare_command(Path("x")))
    assert not [value for value in asdict(secrets).values() if value in words]
    environments = {program.name: set(program.environment.values()) for program in started}
    assert own["DATABASE_URL"] not in environments["edge"]
    assert secrets.secret_key not in environments["edge"]
    assert secrets.master_key in environments["edge"]
    for name in ("vendor", "sink"):
        assert not {own["DATABASE_URL"], own["REDIS_URL"], secrets.secret_key, secrets.master_key} & environments[name]
    assert not [name for name in environments if {secrets.admin_password, secrets.admin_token} & environments[name]]
    assert own["RELAY_EDGE_DATABASE_URL"] == (
        f"postgresql://relay_edge:{secrets.edge_database_password}@127.0.0.1:5/postgres"
    )


def test_what_the_operator_sets_wins_over_what_is_made() -> None:
    given = {"RELAY_MASTER_KEY_FILE": "/run/key", "RELAY_SECRET_KEY": "mine", "RELAY_EGRESS_ALLOW": "10.0.0.0/8"}
    options = product.read_options(given)
    own = product.variables(options, Secrets.new(), "postgresql://h/db", "redis://h")
    assert not {"RELAY_MASTER_KEY", "RELAY_SECRET_KEY", "RELAY_EGRESS_ALLOW"} & set(own)
    assert product.environment(options, own)["RELAY_SECRET_KEY"] == "mine"


def test_the_demo_catalog_follows_the_ports() -> None:
    standard = product.demo_catalog(product.read_options({}))
    assert standard == (ROOT / "standalone" / "demo.yaml").read_text()
    moved = product.demo_catalog(
        product.read_options({"RELAY_DEMO_VENDOR_PORT": "1234", "RELAY_DEMO_SINK_PORT": "1235"})
    )
    assert "base_url: http://127.0.0.1:1234/v1" in moved
    assert moved.count("url: http://127.0.0.1:1235/hooks/") >= 3
    assert "8090" not in moved
    assert "8091" not in moved


def test_an_env_file_that_was_copied_and_not_filled_in_changes_nothing() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    blank = {line.split("=")[0]: " " for line in lines if re.match(r"[A-Z_]+=", line)}
    assert {"DATABASE_URL", "REDIS_URL", "RELAY_MASTER_KEY", "RELAY_HOME"} <= set(blank)
    options = product.read_options(blank)
    assert replace(options, inherited={}) == replace(product.read_options({}), inherited={})
    own = product.variables(options, Secrets.new(), "postgresql://h/db", "redis://h")
    assert set(own) >= {"RELAY_MASTER_KEY", "RELAY_SECRET_KEY", "RELAY_EDGE_DATABASE_URL", "RELAY_CONTROL_URL"}


def test_a_url_from_a_file_is_handed_on_once(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://h/db\n")
    options = product.read_options({"DATABASE_URL_FILE": str(file), "RELAY_BOOTSTRAP_ADMIN_PASSWORD_FILE": str(file)})
    assert options.database_url == "postgresql://h/db"
    secrets = Secrets.new()
    base = product.environment(options, product.variables(options, secrets, options.database_url, "redis://h"))
    assert base["DATABASE_URL"] == "postgresql://h/db"
    assert "DATABASE_URL_FILE" not in base
    prepared = product.prepare_environment(base, secrets)
    assert prepared["RELAY_BOOTSTRAP_ADMIN_PASSWORD"] == secrets.admin_password
    assert "RELAY_BOOTSTRAP_ADMIN_PASSWORD_FILE" not in prepared
