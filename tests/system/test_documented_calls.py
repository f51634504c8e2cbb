"""Every line that `docs/surfaces.md` gives to try, run as it stands there against the real processes."""

import json
import re
import shlex
import subprocess

import pytest

from tests.system.product import ROOT, Product

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

PAGE = (ROOT / "docs" / "surfaces.md").read_text(encoding="utf-8")
[EXAMPLES] = re.findall(r"```\n(A=.*?)```", PAGE, re.DOTALL)
SETTING, *CALLS = EXAMPLES.splitlines()
SAYS = {
    "chat/completions": '"chat.completion"',
    "responses": '"response"',
    "v1/messages": '"message"',
    "count_tokens": '"input_tokens"',
    "embeddings": '"embedding"',
    "images": '"b64_json"',
    "speech": "ID3 hi",
    "transcriptions": "bytes of README.md",
    "moderations": '"flagged"',
    "rerank": '"relevance_score"',
    "v1/models ": '"demo-responses"',
    "models/demo-claude": '"demo-claude"',
    "passthrough": '"demo-embedding-1"',
}


@pytest.mark.parametrize("call", CALLS)
def test_a_documented_call(product: Product, call: str) -> None:
    setting = SETTING.replace("http://127.0.0.1:8080", product.edge_url)
    script = f"RELAY_KEY={shlex.quote(product.relay_key)}; {setting}; {call.replace('curl', 'curl -sf', 1)}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, timeout=30, check=True)
    answer = done.stdout.decode()
    [said] = [words for name, words in SAYS.items() if name in call and not (name == "v1/messages" and "count" in call)]
    assert said in answer
    if "-i " in call:
        assert "x-relay-estimate: true" in answer
    elif answer.startswith("{"):
        assert json.loads(answer)
