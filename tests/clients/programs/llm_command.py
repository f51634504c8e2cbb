"""The `llm` command, with the relay as an OpenAI-compatible model in its configuration."""

import subprocess
import sys
from pathlib import Path

from asked import ANSWER, KEY, MODEL, QUESTION, URL

folder = Path.home() / "llm"
folder.mkdir()
(folder / "extra-openai-models.yaml").write_text(
    f"- model_id: relay\n  model_name: {MODEL}\n  api_base: {URL}/v1\n  api_key_name: relay\n"
)
environ = {"LLM_USER_PATH": str(folder), "HOME": str(Path.home()), "PATH": ""}
command = [str(Path(sys.executable).with_name("llm"))]
subprocess.run([*command, "keys", "set", "relay", "--value", KEY], env=environ, check=True)
for further in ([], ["--no-stream"]):
    said = subprocess.run(
        [*command, "-m", "relay", *further, QUESTION], env=environ, check=True, capture_output=True, text=True
    )
    assert said.stdout.strip() == ANSWER, said
