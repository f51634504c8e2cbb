"""LiteLLM as a client: `openai/` and `anthropic/` providers with the relay as their base."""

import litellm
from asked import ANSWER, KEY, MODEL, QUESTION, TOOL_QUESTION, URL

litellm.telemetry = False
TALK = [{"role": "user", "content": QUESTION}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}]

for provider, base in (("openai", f"{URL}/v1"), ("anthropic", URL)):
    common = {"model": f"{provider}/{MODEL}", "api_base": base, "api_key": KEY, "num_retries": 0, "max_tokens": 100}
    whole = litellm.completion(messages=TALK, **common)
    assert whole.choices[0].message.content == ANSWER, whole
    assert whole.usage.completion_tokens == 22, whole.usage
    pieces = list(litellm.completion(messages=TALK, stream=True, **common))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == ANSWER, pieces
    asked = litellm.completion(messages=[{"role": "user", "content": TOOL_QUESTION}], tools=TOOLS, **common)
    assert asked.choices[0].message.tool_calls[0].function.name == "get_weather", asked
