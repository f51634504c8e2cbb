"""Instructor: typed answers through each of its ways to ask for them."""

import anthropic
import instructor
import openai
from asked import KEY, MODEL, QUESTION, URL
from pydantic import BaseModel

TALK = [{"role": "user", "content": QUESTION}]


class City(BaseModel):
    """A city."""

    name: str
    population: int


WANTED = {"name": "demo", "population": 1}
client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    typed = instructor.from_openai(client, mode=mode)
    answer = typed.chat.completions.create(model=MODEL, messages=TALK, response_model=City, max_retries=0)
    assert answer.model_dump() == WANTED, mode
    partial = list(typed.chat.completions.create_partial(model=MODEL, messages=TALK, response_model=City))
    assert partial[-1].model_dump() == WANTED, mode
claude = instructor.from_anthropic(anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0))
answer = claude.messages.create(model=MODEL, max_tokens=100, messages=TALK, response_model=City, max_retries=0)
assert answer.model_dump() == WANTED, answer
