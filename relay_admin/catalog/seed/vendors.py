"""Where the vendors are that we can call, and which of their models speak a shape of ours.

`genai-prices` knows what models cost; how they are called is ours to know. Base URLs are the ones that the vendors
document (read 2026-11). A vendor that is not here, or whose address differs for each customer, gets prices only.
"""

import re
from dataclasses import dataclass

from relay_contract.nouns import WireShape

_CHAT = (WireShape.OPENAI_CHAT,)

_NO_CHAT = re.compile(
    r"embed|tts|whisper|transcri|realtime|speech|voice|live|moderation|rerank|ocr|image|banana|prompt-guard|:free$|:batch$",
    re.IGNORECASE,
)
"""Names of models that are no chat, or that are another model under other terms."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """`id` is the provider's in the data, and the slug of the host."""

    id: str
    base_url: str
    shapes: tuple[WireShape, ...] = _CHAT
    only: str = ""  # pattern of the names that the host serves, of those in the data
    never: str = r"(?!)"  # pattern of names that it does not
    upstream_prefix: str = ""  # what the host writes before the name

    def serves(self, name: str) -> bool:
        """Whether the host takes this model in a call."""
        return bool(re.search(self.only, name)) and not re.search(self.never, name) and not _NO_CHAT.search(name)

    def shapes_of(self, name: str) -> tuple[WireShape, ...]:
        """The shapes in which it takes it. Some of OpenAI's models are not served as chat completions."""
        if WireShape.OPENAI_RESPONSES in self.shapes and _RESPONSES_ONLY.search(name):
            return (WireShape.OPENAI_RESPONSES,)
        return self.shapes


_RESPONSES_ONLY = re.compile(r"-pro$|codex|deep-research|computer-use")

VENDORS: dict[str, Vendor] = {
    vendor.id: vendor
    for vendor in (
        Vendor(
            "openai",
            "https://api.openai.com/v1",
            (WireShape.OPENAI_CHAT, WireShape.OPENAI_RESPONSES),
            # fine-tunes have names of their own; completions are no chat; open weights are served by others
            never=r"^(?:ada|babbage|curie|davinci|text-|ft:|gpt-oss)|[:.](?:ft-|extended)|instruct|-research$(?<!deep-research)",
        ),
        Vendor("anthropic", "https://api.anthropic.com/v1", (WireShape.ANTHROPIC_MESSAGES,), only="^claude-"),
        Vendor(
            "google",
            "https://generativelanguage.googleapis.com/v1beta",
            (WireShape.GEMINI,),
            only="^gem",  # Claude is on Vertex, at addresses of each customer
            never=r"streaming|-maas$|^gemini-(?:flash|pro)-1",
        ),
        Vendor("mistral", "https://api.mistral.ai/v1"),
        Vendor("deepseek", "https://api.deepseek.com/v1"),
        Vendor("x-ai", "https://api.x.ai/v1"),
        Vendor("groq", "https://api.groq.com/openai/v1"),
        Vendor("cerebras", "https://api.cerebras.ai/v1"),
        Vendor("moonshotai", "https://api.moonshot.ai/v1"),
        Vendor("zai", "https://api.z.ai/api/paas/v4"),
        Vendor("zhipuai", "https://open.bigmodel.cn/api/paas/v4"),
        Vendor("minimax", "https://api.minimax.io/v1"),
        Vendor("perplexity", "https://api.perplexity.ai", only="^sonar"),
        Vendor("cohere", "https://api.cohere.ai/compatibility/v1"),
        Vendor("together", "https://api.together.xyz/v1"),
        Vendor("fireworks", "https://api.fireworks.ai/inference/v1", upstream_prefix="accounts/fireworks/models/"),
        Vendor("baseten", "https://inference.baseten.co/v1"),
        Vendor("novita", "https://api.novita.ai/v3/openai"),
        Vendor("ovhcloud", "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1"),
        Vendor("openrouter", "https://openrouter.ai/api/v1", only="/"),
    )
}
"""Makers of models first: of several vendors with one model, the first is its owner."""

USUAL = ("openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "groq")
"""What `catalog seed` takes when nothing is asked for."""
