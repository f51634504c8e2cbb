"""RELAY_HOME and its secrets."""

import base64
import json
import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from relay_contract import signing, tokens
from relay_contract.nouns import KeyMode
from standalone.embedded import StandaloneError
from standalone.home import AlreadyRunningError, Credentials, Home, Secrets


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    made = home.secrets()
    assert home.secrets() == made
    home.close()
    again = Home(tmp_path / "home")
    assert again.secrets() == made
    again.close()
    assert stat.S_IMODE((tmp_path / "home" / "secrets.json").stat().st_mode) == 0o600


def test_secrets_have_the_form_their_readers_ask_for() -> None:
    made, other = Secrets.new(), Secrets.new()
    assert len(base64.b64decode(made.master_key)) == 32
    parsed = tokens.parse(made.relay_key)
    assert parsed is not None
    assert parsed.mode is KeyMode.LIVE
    assert tokens.parse_admin(made.admin_token) is not None
    signing.parse_secret(made.demo_sink_secret)
    assert not set(asdict(made).values()) & set(asdict(other).values())


def test_a_second_relay_on_the_folder_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(AlreadyRunningError, match=r"A relay is already running on .*RELAY_HOME, RELAY_PORT"):
        Home(tmp_path)
    home.close()
    Home(tmp_path).close()


def test_lost_or_damaged_secrets_are_never_replaced(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "postgres").mkdir()
    with pytest.raises(StandaloneError, match=r"secrets\.json is gone, but .* holds data sealed with it"):
        home.secrets()
    (tmp_path / "secrets.json").write_text('{"secret_key": "x"}')
    with pytest.raises(StandaloneError, match=r"secrets\.json is damaged"):
        home.secrets()
    assert (tmp_path / "secrets.json").read_text() == '{"secret_key": "x"}'
    home.close()


def test_credentials_are_private_and_forgotten_at_a_new_start(tmp_path: Path) -> None:
    home = Home(tmp_path)
    credentials = Credentials("http://e", "http://c", "admin", "pw", "ra_x", "demo", "rk_live_x")
    home.write_credentials(credentials)
    assert json.loads(home.credentials_file.read_text()) == {
        "edge_url": "http://e", "control_url": "http://c", "admin_username": "admin", "admin_password": "pw",
        "admin_token": "ra_x", "project": "demo", "relay_key": "rk_live_x",
    }  # fmt: skip
    assert stat.S_IMODE(home.credentials_file.stat().st_mode) == 0o600
    home.forget_credentials()
    assert not home.credentials_file.exists()
    home.close()


def test_a_folder_that_cannot_be_made_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StandaloneError, match=r"cannot be used .*Set RELAY_HOME"):
        Home(tmp_path / "file" / "home")
