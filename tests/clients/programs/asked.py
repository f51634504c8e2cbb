"""What every Python program asks, so that each holds only what its client is about."""

import os

URL = os.environ["RELAY_URL"]
KEY = os.environ["RELAY_KEY"]
MODEL = os.environ["MODEL"]

QUESTION = "Where is the relay?"
ANSWER = 'This is the demo vendor; no model is behind it. You wrote: "Where is the relay?"'
TOOL_QUESTION = "What does get_weather say?"
SUNNY = "sunny"
TOOL_ANSWER = 'The tool answered: "sunny"'
