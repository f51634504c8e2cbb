"""OpenAI's Agents SDK: an agent with a tool, over responses and over chat completions, whole and streamed."""

import asyncio

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from asked import KEY, MODEL, SUNNY, TOOL_ANSWER, TOOL_QUESTION, URL
from openai import AsyncOpenAI

set_tracing_disabled(True)
CITIES = []


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    CITIES.append(city)
    return SUNNY


async def main() -> None:
    """Two runs with each of the APIs."""
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    for make in (OpenAIResponsesModel, OpenAIChatCompletionsModel):
        agent = Agent(name="weather", instructions="Use your tool.", model=make(MODEL, client), tools=[get_weather])
        CITIES.clear()
        whole = await Runner.run(agent, TOOL_QUESTION)
        assert (whole.final_output, CITIES) == (TOOL_ANSWER, ["demo"]), whole
        streamed = Runner.run_streamed(agent, TOOL_QUESTION)
        kinds = {event.type async for event in streamed.stream_events()}
        assert "raw_response_event" in kinds, kinds
        assert (streamed.final_output, CITIES) == (TOOL_ANSWER, ["demo", "demo"]), streamed


asyncio.run(main())
