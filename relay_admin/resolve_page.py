"""The page "Resolve": a relay key and a model, and where such a call would go at this moment, with every reason."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from relay_admin import edge_client
from relay_admin.access.models import RelayKey
from relay_admin.catalog.models import Model, ModelAlias
from relay_admin.deliveries.models import Request
from relay_admin.traffic.trace_view import OF_EQUAL_PRIORITY

PERMISSION = "access.view_relaykey"
MOST_SUGGESTED = 500


class RelayKeySelect(AutocompleteSelect):
    """Django's would ask the database for whatever the address holds, and fail over what is no id."""

    def optgroups(self, name: str, value: list[str], attrs: dict[str, Any] | None = None) -> Any:
        """The chosen row, where there may be one."""
        return super().optgroups(name, [each for each in value if str(each).isdecimal()], attrs)


class ResolveForm(forms.Form):
    """The question. It changes nothing, so it stands in the address and can be sent to a colleague."""

    relay_key = forms.ModelChoiceField(
        RelayKey.objects.select_related("project"),
        # Any foreign key to relay keys does: the widget searches the table that it leads to.
        widget=RelayKeySelect(Request._meta.get_field("relay_key"), admin.site),
        help_text="Whose call it would be.",
    )
    model = forms.CharField(
        max_length=128,
        widget=UnfoldAdminTextInputWidget(attrs={"list": "relay-models", "autocomplete": "off"}),
        help_text="As callers write it: a model's name or an alias.",
    )
    surface = forms.ChoiceField(
        choices=list(edge_client.SURFACES.items()),
        widget=UnfoldAdminSelectWidget,
        help_text="What the caller asks for.",
        label="Operation",
    )


def page(request: HttpRequest) -> HttpResponse:
    """Asks the edge where the form is filled; says why where it cannot."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    form = ResolveForm(request.GET if "model" in request.GET else None, initial=request.GET.dict())
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Resolve",
        "form": form,
        "media": form.media,
        "suggested": suggested_models() if request.user.has_perm("catalog.view_model") else [],
    }
    if form.is_bound and form.is_valid():
        try:
            context |= _answer(edge_client.resolve(**form.cleaned_data))
        except edge_client.EdgeError as error:
            context["problem"] = str(error)
    return TemplateResponse(request, "relay/resolve.html", context)


def _answer(explanation: dict[str, Any]) -> dict[str, Any]:
    """The edge's explanation, and the candidate that takes the call when the first is left alone by its breakers."""
    candidates = [
        {**candidate, "model": leg["model"]} for leg in explanation["legs"] for candidate in leg["candidates"]
    ]
    selection = explanation["selection"]
    return {
        "explanation": explanation,
        "order": OF_EQUAL_PRIORITY.get(selection, selection),
        "is_held_up": bool(candidates and candidates[0]["breaker"]),
        "instead": next((each for each in candidates if not each["breaker"]), None),
    }


def suggested_models() -> list[str]:
    """What callers may write, by name."""
    names = Model.objects.filter(is_enabled=True).order_by("name").values_list("name", flat=True)
    aliases = ModelAlias.objects.order_by("name").values_list("name", flat=True)
    return sorted({*names[:MOST_SUGGESTED], *aliases[:MOST_SUGGESTED]})
