"""What a busy port says."""

import os
import re
import socket
from pathlib import Path

import pytest

from standalone import embedded, ports
from standalone.embedded import StandaloneError


def test_free_ports_are_taken() -> None:
    ports.require_free({"RELAY_PORT": embedded.free_port()})


def test_a_busy_port_is_named_with_its_holder_and_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("0.0.0.0", 0)) as second:
        one, two = first.getsockname()[1], second.getsockname()[1]
        with pytest.raises(StandaloneError) as refused:
            ports.require_free(
                {"RELAY_PORT": one, "RELAY_CONTROL_PORT": two, "RELAY_DEMO_SINK_PORT": embedded.free_port()}
            )
    lines = str(refused.value).splitlines()
    assert len(lines) == 2
    who = rf"process {os.getpid()} \(.*\)" if Path("/proc/net/tcp").exists() else "another program.*"
    assert re.fullmatch(
        rf"Port {one} is in use by {who}\. Stop it, or choose another: RELAY_PORT=\d+ make run", lines[0]
    )
    assert re.fullmatch(rf"Port {two} is in use by {who}\. .* RELAY_CONTROL_PORT=\d+ make run", lines[1])


def test_the_same_port_twice_is_refused() -> None:
    port = embedded.free_port()
    with pytest.raises(StandaloneError, match=f"RELAY_PORT is {port}, and so is another port of the relay"):
        ports.require_free({"RELAY_PORT": port, "RELAY_CONTROL_PORT": port})
