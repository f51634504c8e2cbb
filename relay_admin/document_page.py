"""The page "Import and export": the catalog as a YAML document, down and up again.

An upload is planned first and nothing is changed by that; what is applied is the plan that was shown, or nothing. What
people import counts as changed by people, as in the control API: a document that is kept in a repository does not undo
it. No variable of this process is read, so a document from here sets no secret.
"""

import hashlib
import json
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_http_methods, require_safe
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from relay_admin.catalog import document, export, plan
from relay_admin.catalog.document import DocumentError
from relay_admin.catalog.models import Project
from relay_admin.catalog.plan import Plan, Step
from relay_admin.control_api.catalog import CHANGES, NO_VARIABLES, PERMISSIONS

MAX_BYTES = 2_000_000
"""Below what Django takes of a form: the document comes back with the confirmation."""
MOST_CHOSEN = 500
_MOST_SHOWN = 200
"""Steps of one kind of row that are laid out; the text has all of them."""
_TOO_LARGE = f"This page takes {MAX_BYTES:,} bytes. `manage.py catalog apply` takes larger ones."


class ImportForm(forms.Form):
    """A document, and how it is applied."""

    file = forms.FileField(required=False, label="File", widget=UnfoldAdminFileFieldWidget)
    document = forms.CharField(
        required=False,
        strip=False,
        label="Or paste it",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 10, "spellcheck": "false"}),
    )
    prune = forms.BooleanField(
        required=False,
        label="Delete what its parts leave out",
        widget=UnfoldBooleanSwitchWidget,
        help_text="Parts that it does not have are not looked at.",
    )
    overwrite = forms.BooleanField(
        required=False,
        label="Undo what people changed",
        widget=UnfoldBooleanSwitchWidget,
        help_text="Since a document was applied the last time. Otherwise that is shown and kept.",
    )

    def clean(self) -> dict[str, Any]:
        """`text`: the document, however it came."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        file = cleaned.get("file")
        written = file.read(MAX_BYTES + 1) if file else (cleaned.get("document") or "").encode("utf-8", "replace")
        if len(written) > MAX_BYTES:
            raise ValidationError(_TOO_LARGE)
        if not written.strip():
            raise ValidationError("Choose a file, or paste a document.")
        try:
            cleaned["text"] = written.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError:
            raise ValidationError("This is not UTF-8 text.") from None
        return cleaned


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """The page; a POST plans, and with the `digest` of a plan it applies that."""
    if not request.user.has_perms(PERMISSIONS):
        raise PermissionDenied
    if request.method != "POST":
        return _page(request, ImportForm())
    if not request.user.has_perms(CHANGES):
        raise PermissionDenied
    form = ImportForm(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, form)
    asked = form.cleaned_data
    try:
        wanted = document.read(asked["text"])
        made = plan.make(wanted, NO_VARIABLES, prune=asked["prune"], overwrite=asked["overwrite"])
        if "digest" not in request.POST:
            return _page(request, form, **_shown(made, asked))
        if request.POST["digest"] != _digest(made, asked):
            return _page(request, form, moved=True, **_shown(made, asked))
        minted = plan.apply(
            wanted, NO_VARIABLES, made, prune=asked["prune"], overwrite=asked["overwrite"], remembers=False
        )
    except DocumentError as error:
        return _page(request, form, refused=str(error).splitlines())
    keys = [("/".join(one.path), one.token) for one in minted]
    return _page(request, ImportForm(), applied=len(made.steps), minted=keys)


@require_safe
def download(request: HttpRequest) -> HttpResponse:
    """The whole catalog, or of it the projects that are named, as a file."""
    if not request.user.has_perms(PERMISSIONS):
        raise PermissionDenied
    whole, chosen = export.export(), set(request.GET.getlist("project"))
    if chosen:
        entries = [entry for entry in whole.get("projects", ()) if entry["slug"] in chosen]
        whole = {"version": whole["version"], "projects": entries}
    return HttpResponse(
        export.as_yaml(whole),
        content_type="application/yaml; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="catalog.yaml"'},
    )


def _page(request: HttpRequest, form: ImportForm, **more: Any) -> HttpResponse:
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Import and export",
        "form": form,
        "media": form.media,
        "may_import": request.user.has_perms(CHANGES),
        "projects": Project.objects.order_by("slug").values_list("slug", flat=True)[:MOST_CHOSEN],
        **more,
    }
    return TemplateResponse(request, "relay/catalog_document.html", context)


def _shown(made: Plan, asked: dict[str, Any]) -> dict[str, Any]:
    """What is decided on, and what comes back with the decision."""
    groups: dict[str, list[Step]] = {}
    for step in made.steps:
        groups.setdefault(str(step.section.model._meta.verbose_name_plural), []).append(step)
    return {
        "planned": True,
        "groups": [_group(title, steps) for title, steps in groups.items()],
        "drift": made.drift[:_MOST_SHOWN],
        "more_drift": max(0, len(made.drift) - _MOST_SHOWN),
        "change_count": len(made.steps),
        "plan_text": str(made),
        "digest": _digest(made, asked),
        "asked": asked,
    }


def _group(title: str, steps: list[Step]) -> dict[str, Any]:
    created = sum(step.row is None for step in steps)
    removed = sum(step.entry is None for step in steps)
    counts = {"to create": created, "to change": len(steps) - created - removed, "to delete": removed}
    return {
        "title": title,
        "counts": ", ".join(f"{count} {word}" for word, count in counts.items() if count),
        "steps": [_step(step) for step in steps[:_MOST_SHOWN]],
        "more": max(0, len(steps) - _MOST_SHOWN),
    }


def _step(step: Step) -> dict[str, Any]:
    word = "delete" if step.entry is None else "create" if step.row is None else "change"
    fields = [(name, *values) for name, values in step.fields.items()] if word == "change" else []
    return {"word": word, "path": "/".join(step.path), "fields": fields}


def _digest(made: Plan, asked: dict[str, Any]) -> str:
    """Of everything that the decision is about: nothing else is applied."""
    decided = [asked["text"], asked["prune"], asked["overwrite"], str(made)]
    return hashlib.sha256(json.dumps(decided).encode()).hexdigest()
