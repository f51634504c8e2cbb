"""The pages of a line's configuration: its draft, what it would change, its publication; its revisions."""

import json
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from relay_admin.access.models import User
from relay_admin.catalog.lines import drafts
from relay_admin.catalog.lines.documents import LineRefused
from relay_admin.catalog.lines.drafts import LineConflict
from relay_admin.catalog.models import Line, LineRevision

VIEWING = ("catalog.view_line", "catalog.view_linedraft", "catalog.view_linerevision", "catalog.change_target")
PUBLISHING = (
    "catalog.change_linedraft",
    "catalog.change_line",
    *(f"catalog.{verb}_{noun}" for verb in ("add", "change", "delete") for noun in ("endpoint", "target")),
)
MOST_REVISIONS = 100
_JSON = UnfoldAdminTextareaWidget(attrs={"rows": 24, "class": "font-mono", "spellcheck": "false"})


class DocumentField(forms.JSONField):
    """Shown as people write it: over several lines."""

    def prepare_value(self, value: Any) -> Any:
        """What was typed stays as it was typed."""
        return _pretty(value) if isinstance(value, dict) else value


class DraftForm(forms.Form):
    """The line's document, and which draft it replaces."""

    document = DocumentField(widget=_JSON, help_text="The whole line: what it does not name is deleted.")
    draft_revision = forms.IntegerField(min_value=0, max_value=2**31 - 1, widget=forms.HiddenInput)
    base = forms.IntegerField(min_value=1, max_value=2**31 - 1, widget=forms.HiddenInput)

    def clean_document(self) -> dict[str, Any]:
        """An object."""
        document = self.cleaned_data["document"]
        if not isinstance(document, dict):
            raise forms.ValidationError("Write an object, as it was here.")
        return document


class PublishForm(forms.Form):
    """When, and why."""

    note = forms.CharField(max_length=200, required=False, widget=UnfoldAdminTextInputWidget)
    at = forms.SplitDateTimeField(
        required=False, widget=UnfoldAdminSplitDateTimeWidget, label="Publish at", help_text="UTC. Empty: now."
    )
    draft_revision = forms.IntegerField(min_value=1, max_value=2**31 - 1, widget=forms.HiddenInput)


class RollbackForm(forms.Form):
    """To the revision of the page."""

    revision = forms.IntegerField(min_value=1, max_value=2**31 - 1, widget=forms.HiddenInput)


def urls(model_admin: ModelAdmin) -> list[URLPattern]:
    """The pages, for `LineAdmin.get_urls`."""
    view = model_admin.admin_site.admin_view
    return [
        path(
            "<int:line_id>/configuration/",
            view(lambda request, line_id: configuration(request, model_admin, line_id)),
            name="catalog_line_configuration",
        ),
        path(
            "<int:line_id>/revisions/<int:number>/",
            view(lambda request, line_id, number: revision(request, model_admin, line_id, number)),
            name="catalog_line_revision",
        ),
    ]


def configuration(request: HttpRequest, model_admin: ModelAdmin, line_id: int) -> HttpResponse:
    """GET shows; POST saves, publishes, plans or discards the draft."""
    _demand(request, VIEWING)
    line = _line(line_id)
    shown = DraftForm(initial=_initial(line))
    publishing: forms.Form | None = None
    if request.method == "POST":
        shown, publishing, answer = _posted(request, line, shown)
        if answer is not None:
            return answer
    draft = drafts.draft_of(line)
    context = {
        "line": line,
        "draft": draft,
        "is_stale": draft is not None and draft.base_number != line.revision,
        "diff": drafts.draft_diff(draft) if draft else None,
        "form": shown,
        "publishing": publishing or PublishForm(initial={"draft_revision": draft.draft_revision if draft else 0}),
        "revisions": line.revisions.select_related("published_by").order_by("-number")[:MOST_REVISIONS],
        "may_publish": request.user.has_perms(PUBLISHING),
        "may_draft": request.user.has_perm("catalog.change_linedraft"),
    }
    return _page(request, model_admin, "relay/line_configuration.html", f"Configuration of {line}", context)


def revision(request: HttpRequest, model_admin: ModelAdmin, line_id: int, number: int) -> HttpResponse:
    """GET shows what a revision was and what going back would change; POST goes back."""
    _demand(request, VIEWING)
    line = _line(line_id)
    found = get_object_or_404(line.revisions.select_related("published_by"), number=number)
    form = RollbackForm(request.POST or None, initial={"revision": line.revision})
    if request.method == "POST":
        _demand(request, PUBLISHING)
        if form.is_valid() and (answer := _rolled_back(request, line, found, form.cleaned_data["revision"])):
            return answer
    context = {
        "line": line,
        "revision": found,
        "document": _pretty(found.document),
        "diff": drafts.diff_of(line, found.document),
        "form": RollbackForm(initial={"revision": line.revision}),
        "may_publish": request.user.has_perms(PUBLISHING),
    }
    return _page(request, model_admin, "relay/line_revision.html", f"Revision {number} of {line}", context)


def _posted(
    request: HttpRequest, line: Line, shown: DraftForm
) -> tuple[DraftForm, forms.Form | None, HttpResponse | None]:
    """The forms as they are shown again, or the answer where it is done."""
    wanted = request.POST.get("do", "")
    _demand(request, ("catalog.change_linedraft",) if wanted in ("save", "discard") else PUBLISHING)
    if wanted == "save":
        form: forms.Form = DraftForm(request.POST)
        shown = cast("DraftForm", form)
        publishing = None
    else:
        form = publishing = PublishForm(request.POST)
    if form.is_valid():
        try:
            said = _done(wanted, line, form.cleaned_data, cast("User", request.user))
        except LineConflict as conflict:
            form.add_error(None, str(conflict))
        except LineRefused as refused:
            for complaint in refused.complaints:
                form.add_error(None, str(complaint))
        else:
            messages.success(request, said)
            return shown, publishing, HttpResponseRedirect(request.path)
    return shown, publishing, None


def _done(wanted: str, line: Line, given: dict[str, Any], by: User) -> str:
    number = given["draft_revision"]
    match wanted:
        case "save":
            drafts.draft_put(line=line, document=given["document"], draft_revision=number, base=given["base"], by=by)
            return "The draft is saved. Nothing that runs has changed."
        case "discard":
            drafts.draft_discard(line=line, draft_revision=number)
            return "The draft is discarded."
        case "publish" if given["at"] is not None and given["at"] > timezone.now():
            drafts.draft_schedule(line=line, draft_revision=number, at=given["at"])
            return "The publication is planned."
        case "publish":
            made = drafts.draft_publish(line=line, draft_revision=number, by=by, note=given["note"])
            return f"Revision {made.number} runs now."
        case "unplan":
            drafts.draft_schedule(line=line, draft_revision=number, at=None)
            return "The publication is not planned any more."
        case _:
            raise PermissionDenied


def _rolled_back(request: HttpRequest, line: Line, found: LineRevision, known: int) -> HttpResponse | None:
    try:
        made = drafts.rollback(line=line, number=found.number, revision=known, by=cast("User", request.user))
    except (LineConflict, LineRefused) as refused:
        messages.error(request, str(refused))
        return None
    messages.success(request, f"Revision {made.number} runs now; it is what revision {found.number} was.")
    return HttpResponseRedirect(reverse("admin:catalog_line_configuration", args=[line.pk]))


def _initial(line: Line) -> dict[str, Any]:
    """The draft, or what runs. Saved from this page, a draft takes account of what runs now: the page shows both."""
    draft = drafts.draft_of(line)
    document = draft.document if draft else drafts.document_now(line)
    return {
        "document": document,
        "draft_revision": draft.draft_revision if draft else 0,
        "base": line.revision,
    }


def _pretty(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2)


def _line(line_id: int) -> Line:
    return get_object_or_404(Line.objects.select_related("project"), pk=line_id)


def _demand(request: HttpRequest, permissions: tuple[str, ...]) -> None:
    if not request.user.has_perms(permissions):
        raise PermissionDenied


def _page(
    request: HttpRequest, model_admin: ModelAdmin, template: str, title: str, context: dict[str, Any]
) -> HttpResponse:
    site = model_admin.admin_site.each_context(request)
    shared = {"title": title, "page_title": title, "opts": model_admin.opts, "media": model_admin.media}
    return TemplateResponse(request, template, {**site, **shared, **context})
