"""A catalog in which something happens: a model on two hosts that serve it, one of which refuses its key."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from relay_contract import tokens
from relay_contract.nouns import KeyMode
from tests.system.product import Product, wait_for

QUESTION = {"messages": [{"role": "user", "content": "Which of our parcels are late, and why?"}]}


@dataclass(frozen=True)
class Scene:
    """What a test calls and looks for. A call of `model` meets `{slug}-east`, which refuses its key, then the demo."""

    product: Product
    slug: str
    token: str

    @property
    def model(self) -> str:
        return f"{self.slug}-chat"

    def call(self, **body: Any) -> tuple[int, str]:
        """A chat completion. Status, and the id by which its row is found."""
        document = {"model": self.model, **QUESTION, **body}
        request = urllib.request.Request(f"{self.product.edge_url}/v1/chat/completions", json.dumps(document).encode())
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                answer.read()
                return answer.status, answer.headers["x-request-id"]
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.headers["x-request-id"]

    def wait_for_row(self, request_id: str) -> dict[str, Any]:
        """The call's row, as soon as it is written."""

        def rows() -> list[dict[str, Any]]:
            found = self.product.api(f"/api/v1/calls?request={request_id}")["results"]
            return list(found)

        return wait_for(rows, f"the row of {request_id}")[0]


def set_up(product: Product, slug: str) -> Scene:
    """Applies the catalog and waits until every edge process serves it."""
    scene = Scene(product, slug, tokens.mint(KeyMode.LIVE).token)
    product.apply(_document(product, slug), REFUSED_KEY=f"refused-{slug}", SCENE_TOKEN=scene.token)
    wait_for(lambda: scene.call(model="not-there")[0] == 404, "the edge to know the key")
    return scene


def _document(product: Product, slug: str) -> str:
    vendor = f"http://127.0.0.1:{product.environment['RELAY_DEMO_VENDOR_PORT']}/v1"
    return f"""
version: 1
rate_limits:
  - slug: {slug}-limits
    description: What one app may call.
    rules:
      - {{meter: requests, amount: 600, window_seconds: 60}}
      - {{meter: tokens, amount: 2000000, window_seconds: 60}}
      - {{meter: cost, amount: 25000000, window_seconds: 86400}}
policies:
  - slug: {slug}-models
    description: Chat, with a fallback.
    models: ["{slug}-*", "demo-*", "-*@{slug}-west"]
    rate_limit: {slug}-limits
    fallbacks:
      - {{models: ["{slug}-chat"], when: [any_failure], then: [demo-claude, {slug}-gone]}}
hosts:
  - slug: {slug}-east
    description: Refuses its key.
    base_url: {vendor}
    keys:
      - {{name: main, value_env: REFUSED_KEY}}
  - {{slug: {slug}-north, base_url: "{vendor}", description: Has no key yet.}}
  - slug: {slug}-west
    base_url: {vendor}
    keys:
      - {{name: main, value_env: REFUSED_KEY}}
models:
  - name: {slug}-chat
    owned_by: {slug}
    description: Two hosts serve it.
    capabilities: {{context_tokens: 400000, tools: true, images: true}}
    bindings:
      - host: {slug}-east
        wire_shape: openai_chat
        upstream_name: demo-gpt-1
        priority: 0
        pricing: demo-vendor/demo-gpt
      - host: demo-vendor
        wire_shape: openai_chat
        upstream_name: demo-gpt-1
        priority: 1
        pricing: demo-vendor/demo-gpt
      - host: {slug}-north
        wire_shape: openai_chat
        upstream_name: demo-gpt-1
        priority: 2
        pricing: demo-vendor/demo-gpt
      - host: {slug}-west
        wire_shape: openai_chat
        upstream_name: demo-gpt-1
        priority: 3
        pricing: demo-vendor/demo-gpt
projects:
  - slug: {slug}
    name: {slug.capitalize()}
    lines: []
    relay_keys:
      - {{name: app, mode: live, scopes: [inference], policy: {slug}-models, token_env: SCENE_TOKEN}}
"""
