"""LangChain's two chat models: whole, streamed, tools, structured output."""

from asked import ANSWER, KEY, MODEL, QUESTION, SUNNY, TOOL_ANSWER, TOOL_QUESTION, URL
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return SUNNY


for model in (
    ChatOpenAI(model=MODEL, base_url=f"{URL}/v1", api_key=KEY, max_retries=0),
    ChatOpenAI(model=MODEL, base_url=f"{URL}/v1", api_key=KEY, max_retries=0, use_responses_api=True),
    ChatAnthropic(model=MODEL, base_url=URL, api_key=KEY, max_retries=0, max_tokens=100),
):
    assert model.invoke(QUESTION).text == ANSWER, model
    assert "".join(piece.text for piece in model.stream(QUESTION)) == ANSWER, model
    talk = [HumanMessage(TOOL_QUESTION)]
    asked = model.bind_tools([get_weather]).invoke(talk)
    (call,) = asked.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "demo"}), asked
    talk += [asked, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])]
    assert model.bind_tools([get_weather]).invoke(talk).text == TOOL_ANSWER, model
    assert model.with_structured_output(City).invoke(QUESTION) == City(name="demo"), model
