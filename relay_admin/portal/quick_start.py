"""First calls that work when pasted: with this relay's own address, and a model or an endpoint that keys of the project
reach. The snippets are pure; finding a model costs questions to the edge, once a minute and project."""

import json
from dataclasses import dataclass

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from relay_admin import edge_client
from relay_admin.access.models import RelayKey
from relay_admin.catalog.models import Endpoint, Model, Project
from relay_contract.nouns import EndpointAuth, Scope

MOST_ASKED = 4
"""Questions to the edge for one page; each takes some milliseconds."""
_KEPT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Snippet:
    """`id`: of the element that holds it."""

    id: str
    language: str
    text: str


def snippets_of(project: Project) -> dict[str, list[Snippet]]:
    """By title of what they do; empty where keys of the project reach nothing yet."""
    found = {}
    model, endpoint = model_of(project), _endpoint_of(project)
    if model:
        found["Call a model"] = model_snippets(settings.EDGE_URL, model)
    if endpoint is not None:
        path = f"/r/{project.slug}/{endpoint.line.slug}/{endpoint.slug}"
        found["Send to an endpoint"] = endpoint_snippets(settings.EDGE_URL, path)
    return found


def model_snippets(origin: str, model: str) -> list[Snippet]:
    """A chat completion. `origin`: of the edge, with its path if it has one."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    return _snippets("model", f"{origin}/v1/chat/completions", body)


def endpoint_snippets(origin: str, path: str) -> list[Snippet]:
    """An event."""
    return _snippets("endpoint", f"{origin}{path}", {"type": "order.created", "id": 42})


def model_of(project: Project) -> str | None:
    """A model that a key of the project reaches, as the edge says; None where none does, or the edge does not say."""
    return cache.get_or_set(f"quick-start:{project.pk}", lambda: _asked(project) or "", _KEPT_SECONDS) or None


def _asked(project: Project) -> str | None:
    now = timezone.now()
    keys = project.relay_keys.filter(revoked_at=None, policy__isnull=False, scopes__contains=[str(Scope.INFERENCE)])
    newest = keys.select_related("policy").order_by("-pk")[:50]
    key = next((key for key in newest if key.state(now) not in ("stopped", "expired")), None)
    if key is None or key.policy is None:
        return None
    try:
        return next((name for name in _likely(key.policy.models) if _is_served(key, name)), None)
    except edge_client.EdgeError:
        return None  # the page does without: whoever runs the relay sees that its edge is down elsewhere


def _likely(patterns: list[str]) -> list[str]:
    """Enabled models by name, those first that a policy's patterns begin with; the edge alone knows what they grant."""
    beginnings = tuple(pattern.split("*")[0].split("@")[0] for pattern in patterns if not pattern.startswith("-"))
    names = Model.objects.filter(is_enabled=True, bindings__is_enabled=True).distinct().order_by("name")
    found = list(names.values_list("name", flat=True)[:1_000])
    return sorted(found, key=lambda name: not name.startswith(beginnings))[:MOST_ASKED]


def _is_served(key: RelayKey, name: str) -> bool:
    answer = edge_client.resolve(relay_key=key, model=name, surface="chat_completions")
    return answer.get("outcome") == "served"


def _endpoint_of(project: Project) -> Endpoint | None:
    usable = Endpoint.objects.filter(line__project=project, line__is_enabled=True, is_enabled=True)
    with_key = usable.filter(auth=str(EndpointAuth.RELAY_KEY), methods__contains=["POST"])
    return with_key.select_related("line").order_by("line__slug", "slug").first()


def _snippets(what: str, url: str, body: dict[str, object]) -> list[Snippet]:
    compact, wide = json.dumps(body, separators=(",", ":")), json.dumps(body)
    curl = (
        f'curl {url} \\\n  -H "Authorization: Bearer $RELAY_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d '{compact}'"
    )
    python = (
        "import json, os, urllib.request\n\n"
        "request = urllib.request.Request(\n"
        f'    "{url}",\n    json.dumps({wide}).encode(),\n'
        f'    {{"Authorization": os.path.expandvars("Bearer $RELAY_KEY"), "Content-Type": "application/json"}},\n'
        ")\nwith urllib.request.urlopen(request) as answer:\n    print(json.load(answer))"
    )
    javascript = (
        f'const answer = await fetch("{url}", {{\n  method: "POST",\n'
        '  headers: { Authorization: `Bearer ${process.env.RELAY_KEY}`, "Content-Type": "application/json" },\n'
        f"  body: JSON.stringify({wide}),\n}});\nconsole.log(await answer.json());"
    )
    texts = {"curl": curl, "Python": python, "JavaScript": javascript}
    return [Snippet(f"{what}-{language.lower()}", language, text) for language, text in texts.items()]
