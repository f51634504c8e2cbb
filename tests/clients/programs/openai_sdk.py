"""OpenAI's SDK: chat completions, responses, tools, structured output, embeddings, models, errors."""

import json

import openai
from asked import ANSWER, KEY, MODEL, QUESTION, SUNNY, TOOL_ANSWER, TOOL_QUESTION, URL
from pydantic import BaseModel


class City(BaseModel):
    """What the model is held to."""

    name: str
    population: int


PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
chat = client.chat.completions

whole = chat.create(model=MODEL, messages=TALK)
assert whole.choices[0].message.content == ANSWER, whole
assert whole.usage.completion_tokens == 22, whole.usage

pieces = list(chat.create(model=MODEL, messages=TALK, stream=True))
assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == ANSWER, pieces
assert all(piece.usage is None for piece in pieces), "usage that nobody asked for"
pieces = list(chat.create(model=MODEL, messages=TALK, stream=True, stream_options={"include_usage": True}))
assert pieces[-1].usage.completion_tokens == 22, pieces[-1]

tools = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]
talk = [{"role": "user", "content": TOOL_QUESTION}]
asked = chat.create(model=MODEL, messages=talk, tools=tools).choices[0]
assert asked.finish_reason == "tool_calls", asked
call = asked.message.tool_calls[0]
assert json.loads(call.function.arguments) == {"city": "demo"}, call
with chat.stream(model=MODEL, messages=talk, tools=tools) as stream:
    streamed = stream.get_final_completion().choices[0].message.tool_calls[0]
assert (streamed.function.name, json.loads(streamed.function.arguments)) == ("get_weather", {"city": "demo"}), streamed
talk += [asked.message, {"role": "tool", "tool_call_id": call.id, "content": SUNNY}]
assert chat.create(model=MODEL, messages=talk, tools=tools).choices[0].message.content == TOOL_ANSWER

parsed = chat.parse(model=MODEL, messages=TALK, response_format=City).choices[0].message.parsed
assert parsed == City(name="demo", population=1), parsed

response = client.responses.create(model=MODEL, input=QUESTION, instructions="Be brief.", store=False)
assert response.output_text == ANSWER, response
with client.responses.stream(model=MODEL, input=QUESTION) as stream:
    kinds = [event.type for event in stream]
    assert stream.get_final_response().output_text == ANSWER
assert kinds[0] == "response.created", kinds
assert kinds[-1] == "response.completed", kinds
flat = [{"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": True}]
first = client.responses.create(model=MODEL, input=TOOL_QUESTION, tools=flat)
(made,) = (item for item in first.output if item.type == "function_call")
told = client.responses.create(
    model=MODEL,
    tools=flat,
    input=[
        {"role": "user", "content": TOOL_QUESTION},
        *(item.model_dump(exclude_none=True) for item in first.output),
        {"type": "function_call_output", "call_id": made.call_id, "output": SUNNY},
    ],
)
assert told.output_text == TOOL_ANSWER, told
assert client.responses.parse(model=MODEL, input=QUESTION, text_format=City).output_parsed == parsed

vectors = client.embeddings.create(model="demo-embedding", input=["a", "b"])
assert [len(item.embedding) for item in vectors.data] == [8, 8], vectors

assert {model.id for model in client.models.list()} >= {"demo-gpt", "demo-claude", "demo-responses"}
assert client.models.retrieve(MODEL).id == MODEL
try:
    chat.create(model="nothing", messages=TALK)
except openai.NotFoundError as error:
    assert error.code == "model_not_found", error
else:
    raise AssertionError("a model that does not exist answered")
try:
    openai.OpenAI(base_url=f"{URL}/v1", api_key="rk_live_no", max_retries=0).models.list()
except openai.AuthenticationError as error:
    assert error.code == "invalid_key", error
else:
    raise AssertionError("a wrong key was served")
