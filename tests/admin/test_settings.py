"""What the environment makes of the settings, and how its mistakes are told. Each case in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("DATABASE_URL", "REDIS_URL", "RELAY_SECRET_KEY", "RELAY_MASTER_KEY")
BASE = {"PATH": os.environ["PATH"], **{name: os.environ[name] for name in NEEDED}}
SHOW = """
import json, sys
from relay_admin import settings
shown = {name: getattr(settings, name) for name in sys.argv[1:]}
print(json.dumps(shown, default=lambda value: value.hex()))
"""


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**BASE, **environment}, capture_output=True, text=True, check=False, timeout=60
    )


def shown(*names: str, **environment: str) -> dict[str, object]:
    done = run([sys.executable, "-c", SHOW, *names], **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


NAMES = ("CONTROL_URL", "EDGE_URL", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "BOOTSTRAP_ADMIN_USERNAME", "LOG_LEVEL")


def test_blank_means_default() -> None:
    described = [line.split("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line]
    blank = {name: " " for name in described if name.isupper() and name not in NEEDED}
    assert {"RELAY_CONTROL_URL", "RELAY_CONTROL_HOSTS", "RELAY_BOOTSTRAP_ADMIN_PASSWORD"} <= set(blank)
    defaults = {
        "CONTROL_URL": "http://127.0.0.1:8081",
        "EDGE_URL": "http://127.0.0.1:8080",
        "ALLOWED_HOSTS": ["127.0.0.1", "127.0.0.1", "localhost"],
        "CSRF_TRUSTED_ORIGINS": ["http://127.0.0.1:8081"],
        "BOOTSTRAP_ADMIN_USERNAME": "admin",
        "LOG_LEVEL": "INFO",
    }
    assert shown(*NAMES, **blank) == defaults
    assert shown(*NAMES) == defaults


def test_health_checks_are_answered_whatever_the_public_names_are() -> None:
    hosts = shown("ALLOWED_HOSTS", RELAY_CONTROL_HOSTS="relay.example.com, other.example.com")["ALLOWED_HOSTS"]
    assert hosts == ["relay.example.com", "other.example.com", "127.0.0.1", "localhost"]
    got = shown(*NAMES, RELAY_CONTROL_URL="https://[2001:db8::1]:8443/relay/")
    assert got["ALLOWED_HOSTS"] == ["[2001:db8::1]", "127.0.0.1", "localhost"]
    assert got["CSRF_TRUSTED_ORIGINS"] == ["https://[2001:db8::1]:8443"]


@pytest.mark.parametrize(("scheme", "is_secure"), [("http", False), ("https", True)])
def test_cookies_leave_over_tls_alone_where_there_is_any(scheme: str, is_secure: bool) -> None:
    flags = {
        "SESSION_COOKIE_SECURE": is_secure,
        "CSRF_COOKIE_SECURE": is_secure,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "CSRF_COOKIE_SAMESITE": "Lax",
    }
    assert shown(*flags, RELAY_CONTROL_URL=f"{scheme}://relay.example.com") == flags


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    key, url = tmp_path / "key", tmp_path / "url"
    key.write_text(BASE["RELAY_MASTER_KEY"] + "\n")
    url.write_text("postgresql://u:p@db.example.com/relay\n")
    files = {"RELAY_MASTER_KEY_FILE": str(key), "DATABASE_URL_FILE": str(url)}
    got = shown("MASTER_KEYS", "DATABASES", **files, RELAY_MASTER_KEY="", DATABASE_URL="")
    assert got["MASTER_KEYS"] == shown("MASTER_KEYS")["MASTER_KEYS"]
    assert got["DATABASES"]["default"]["HOST"] == "db.example.com"


def test_what_the_database_url_demands_is_not_dropped() -> None:
    url = "postgresql://u:p@db.example.com/relay?sslmode=verify-full"
    options = shown("DATABASES", DATABASE_URL=url)["DATABASES"]["default"]["OPTIONS"]
    assert options["sslmode"] == "verify-full"
    assert options["pool"]["max_size"] == 12


MANAGE = [sys.executable, "manage.py", "check"]
SERVE = [sys.executable, "-m", "uvicorn", "relay_admin.asgi:application", "--port", "1"]
WORK = [sys.executable, "-m", "celery", "-A", "delivery.app", "worker", "--pool", "threads"]


@pytest.mark.parametrize("command", [MANAGE, SERVE, WORK], ids=["manage", "control", "worker"])
def test_mistakes_are_told_together_and_without_a_traceback(command: list[str]) -> None:
    wrong = {"RELAY_MASTER_KEY": "canary-not-a-key", "DATABASE_URL": "mysql://u:canary@db/x", "RELAY_LOG_LEVEL": "LOUD"}
    done = run(command, **wrong)
    assert done.returncode == 1
    said = done.stderr + done.stdout
    assert said.startswith("The configuration is not usable. Set these variables and start again:\n")
    for name in wrong:
        assert f"  {name} is wrong; expected " in said
    assert "Traceback" not in said
    assert "canary" not in said


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RELAY_SIGNUP": "open"}, "RELAY_SIGNUP is open and RELAY_MAIL_URL is not set"),
        ({"RELAY_MAIL_URL": "smtp://mail.example.com"}, "RELAY_MAIL_FROM is not set"),
        ({"RELAY_MAIL_URL": "smtp://mail.example.com", "RELAY_MAIL_FROM": "relay"}, "RELAY_MAIL_FROM is wrong"),
        ({"RELAY_OIDC_ISSUER": "https://id.example.com"}, "RELAY_OIDC_CLIENT_ID is not set"),
        ({"RELAY_OIDC_ISSUER": "http://id.example.com"}, "RELAY_OIDC_ISSUER is wrong; expected https"),
        ({"RELAY_STRIPE_URL": "http://stripe.example.com"}, "RELAY_STRIPE_URL is wrong; expected https"),
        ({"RELAY_OIDC_ISSUER": "https://id.example.com", "RELAY_OIDC_FOR": "both"}, "RELAY_OIDC_DOMAINS is not set"),
    ],
)
def test_what_does_not_go_together_is_said_at_start(environment: dict[str, str], said: str) -> None:
    done = run([sys.executable, "-c", "from relay_admin import settings"], **environment)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
