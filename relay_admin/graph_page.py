"""The page "Catalog graph": what refers to what, and what of it is not well; each node leads to its row."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from relay_admin.catalog.graph.layout import HEIGHT, WIDTH, picture
from relay_admin.catalog.graph.nodes import Graph, cut, matching, narrowed, tree
from relay_admin.catalog.graph.reading import endpoints_graph, models_graph
from relay_admin.catalog.models import Project
from relay_admin.redis_link import RedisAwayError
from relay_admin.traffic.breakers import breakers_list
from relay_contract.redis.breakers import Entry

OF_ENDPOINTS = tuple(f"catalog.view_{noun}" for noun in ("project", "line", "endpoint", "target"))
OF_MODELS = tuple(f"catalog.view_{noun}" for noun in ("policy", "model", "hostbinding", "host", "hostkey"))
OF_BREAKERS = "traffic.view_breakerevent"
MOST_SHOWN = 40
"""Of a column; the list behind it has the others."""


class GraphForm(forms.Form):
    """What to look for. It changes nothing, so it stands in the address."""

    project = forms.ModelChoiceField(
        Project.objects.order_by("slug"),
        required=False,
        to_field_name="slug",
        empty_label="all projects",
        widget=UnfoldAdminSelectWidget,
    )
    q = forms.CharField(
        max_length=100,
        required=False,
        label="Search",
        widget=UnfoldAdminTextInputWidget(attrs={"type": "search", "placeholder": "a name, or a part of one"}),
    )
    view = forms.ChoiceField(
        choices=[("picture", "a picture"), ("tree", "a tree")],
        required=False,
        label="Shown as",
        widget=UnfoldAdminSelectWidget,
    )


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """For who may see one half of the catalog or both."""
    sees_endpoints, sees_models = request.user.has_perms(OF_ENDPOINTS), request.user.has_perms(OF_MODELS)
    if not (sees_endpoints or sees_models):
        raise PermissionDenied
    form = GraphForm(request.GET)
    if not sees_endpoints:
        del form.fields["project"]
    asked = form.cleaned_data if form.is_valid() else {}
    project, text = asked.get("project"), asked.get("q", "")
    graphs: list[Graph] = []
    if sees_endpoints:
        graphs.append(_searched(endpoints_graph(project), text))
    away = ""
    if sees_models:
        entries, away = _breakers(request)
        graph, reached = models_graph(project, entries)
        graphs.append(_searched(narrowed(graph, reached) if project else graph, text))
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Catalog graph",
        "form": form,
        "graphs": [_shown(graph) for graph in graphs],
        "is_tree": asked.get("view") == "tree",
        "away": away,
        "text": text,
        "node_width": WIDTH,
        "node_height": HEIGHT,
    }
    return TemplateResponse(request, "relay/catalog_graph.html", context)


def _searched(graph: Graph, text: str) -> Graph:
    return narrowed(graph, matching(graph, text)) if text else graph


def _shown(graph: Graph) -> dict[str, Any]:
    """The picture and the tree of as much as fits."""
    fitting = cut(graph, MOST_SHOWN)
    more = [column for column in fitting.columns if column.more]
    shown = {"title": graph.title, "is_empty": graph.is_empty, "more": more}
    return {**shown, "picture": picture(fitting), "tree": tree(fitting)}


def _breakers(request: HttpRequest) -> tuple[list[Entry], str]:
    """Those that are not closed, and why nobody knows where that is so."""
    if not request.user.has_perm(OF_BREAKERS):
        return [], ""
    try:
        return breakers_list(), ""
    except RedisAwayError as error:
        return [], f"{error} Which breakers are open is not known."
