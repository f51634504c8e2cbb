"""The page "Shadow report": the shadows there are, and how the chosen one's answers compare with its sibling's."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget

from relay_admin.catalog.models import Target
from relay_admin.deliveries import shadow_report
from relay_contract.nouns import TargetRole

PERMISSION = "deliveries.view_delivery"
WINDOWS = {"1": "the last hour", "24": "the last day", "168": "the last seven days"}
MOST_LISTED = 200


class ReportForm(forms.Form):
    """The question. It changes nothing, so it stands in the address."""

    target = forms.ModelChoiceField(Target.objects.none(), widget=UnfoldAdminSelectWidget, label="Shadow")
    hours = forms.ChoiceField(choices=list(WINDOWS.items()), widget=UnfoldAdminSelectWidget, label="Window")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["target"].queryset = shadows()  # type: ignore[attr-defined]  # of a ModelChoiceField


def shadows() -> Any:
    """Shadow targets that are compared with a sibling."""
    rows = Target.objects.filter(role=TargetRole.SHADOW).exclude(compares_with="")
    return rows.select_related("endpoint__line__project").order_by("endpoint__line__project__slug", "pk")


def page(request: HttpRequest) -> HttpResponse:
    """The report of the shadow that is asked for; of the only one where there is one."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    listed = list(shadows()[:MOST_LISTED])
    asked = {"hours": "24", **request.GET.dict()}
    if "target" not in asked and len(listed) == 1:
        asked["target"] = str(listed[0].pk)
    form = ReportForm(asked if "target" in asked else None, initial={"hours": "24"})
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Shadow report",
        "form": form,
        "media": form.media,
        "has_shadows": bool(listed),
    }
    if form.is_bound and form.is_valid():
        target = form.cleaned_data["target"]
        since = timezone.now() - timedelta(hours=int(form.cleaned_data["hours"]))
        context |= {"target": target, "report": shadow_report.report(target.pk, shadow_report.since_of(since))}
    return TemplateResponse(request, "relay/shadow_report.html", context)
