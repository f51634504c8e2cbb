"""Anthropic's SDK: messages, tools, token counts, models, errors."""

import anthropic
from asked import ANSWER, KEY, MODEL, QUESTION, SUNNY, TOOL_ANSWER, TOOL_QUESTION, URL

TALK = [{"role": "user", "content": QUESTION}]
TOOLS = [
    {
        "name": "get_weather",
        "description": "The weather in a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
messages = client.messages

whole = messages.create(model=MODEL, max_tokens=100, system="Be brief.", messages=TALK)
assert [block.text for block in whole.content] == [ANSWER], whole
assert (whole.stop_reason, whole.usage.output_tokens) == ("end_turn", 22), whole
with messages.stream(model=MODEL, max_tokens=100, messages=TALK) as stream:
    assert "".join(stream.text_stream) == ANSWER
    assert stream.get_final_message().usage.output_tokens == 22
cut = messages.create(model=MODEL, max_tokens=16, messages=TALK)  # OpenAI's Responses take no less
assert cut.stop_reason == "max_tokens", cut
assert cut.content[0].text == 'This is the demo vendor; no model is behind it. You wrote: "', cut

talk = [{"role": "user", "content": TOOL_QUESTION}]
asked = messages.create(model=MODEL, max_tokens=100, messages=talk, tools=TOOLS)
(call,) = (block for block in asked.content if block.type == "tool_use")
assert (asked.stop_reason, call.name, call.input) == ("tool_use", "get_weather", {"city": "demo"}), asked
with messages.stream(model=MODEL, max_tokens=100, messages=talk, tools=TOOLS) as stream:
    (streamed,) = (block for block in stream.get_final_message().content if block.type == "tool_use")
assert streamed.input == call.input, streamed
result = {"type": "tool_result", "tool_use_id": call.id, "content": SUNNY}
talk += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
told = messages.create(model=MODEL, max_tokens=100, messages=talk, tools=TOOLS)
assert told.content[0].text == TOOL_ANSWER, told

counted = messages.count_tokens(model=MODEL, messages=TALK)
assert 1 <= counted.input_tokens <= 30, counted
assert {model.id for model in client.models.list()} >= {"demo-gpt", "demo-claude", "demo-responses"}
assert client.models.retrieve(MODEL).id == MODEL
try:
    messages.create(model="nothing", max_tokens=9, messages=TALK)
except anthropic.NotFoundError as error:
    assert error.body["error"]["type"] == "not_found_error", error.body
else:
    raise AssertionError("a model that does not exist answered")
