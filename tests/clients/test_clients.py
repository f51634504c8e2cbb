"""The clients people point at the relay, each as a program in its own environment, against hosts of every shape.

A program in `programs/` is what a user of that client would write, with assertions; it reads RELAY_URL, RELAY_KEY and
MODEL, and fails with a traceback.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest

from tests.clients.environments import NODE_HOME, node_clients, python_clients
from tests.clients.relay import CONVERSING, running_relay
from tests.edge.nouns import TOKEN

PROGRAMS = Path(__file__).parent / "programs"
PROGRAM_SECONDS = 60
KEPT = ("PATH", "LANG", "SSL_CERT_FILE")

pytestmark = [pytest.mark.xdist_group("clients"), pytest.mark.timeout(700)]  # the first test builds an environment


async def run(interpreter: Path, program: str, model: str) -> None:
    """Runs a program against a relay; its output is the failure."""
    with tempfile.TemporaryDirectory() as home:
        async with running_relay() as plane:
            environ = {
                **{name: os.environ[name] for name in KEPT if name in os.environ},
                "HOME": home,
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would fetch one otherwise
                "RELAY_URL": f"http://127.0.0.1:{plane.port}",
                "RELAY_KEY": TOKEN.token,
                "MODEL": model,
            }
            process = await asyncio.create_subprocess_exec(
                interpreter, PROGRAMS / program, env=environ, cwd=NODE_HOME,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            try:
                async with asyncio.timeout(PROGRAM_SECONDS):
                    output, _ = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            assert process.returncode == 0, output.decode(errors="replace")[-4000:]
            assert plane.served, "the program called nothing"


@pytest.mark.parametrize("model", CONVERSING)
@pytest.mark.parametrize(
    "program",
    ["openai_sdk", "anthropic_sdk", "litellm_client", "langchain_chat", "openai_agents", "instructor_client"],
)
async def test_a_python_client(program: str, model: str) -> None:
    await run(await asyncio.to_thread(python_clients), f"{program}.py", model)


async def test_the_llm_command(tmp_path: Path) -> None:
    await run(await asyncio.to_thread(python_clients), "llm_command.py", "demo-claude")


@pytest.mark.parametrize("model", CONVERSING)
@pytest.mark.parametrize("program", ["openai_sdk", "anthropic_sdk", "vercel_ai"])
async def test_a_javascript_client(program: str, model: str) -> None:
    await run(await asyncio.to_thread(node_clients), f"{program}.mjs", model)
