"""The page "Try it" of an endpoint: a sample call, and what would become of it step by step. Nothing happens."""

from dataclasses import replace
from typing import Any

from django import forms
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from relay_admin.catalog.fields import HeadersField
from relay_admin.catalog.lines import dry_run
from relay_admin.catalog.lines.documents import LineRefused
from relay_admin.catalog.lines.dry_run import Run, Sample, SampleAnswer
from relay_admin.catalog.models import Endpoint
from relay_contract.nouns import ENDPOINT_METHODS

NEEDED = ("catalog.view_endpoint", "catalog.view_target", "catalog.change_target")
_TEXT = UnfoldAdminTextareaWidget(attrs={"rows": 8, "class": "font-mono", "spellcheck": "false"})


class SampleForm(forms.Form):
    """A call."""

    method = forms.ChoiceField(choices=[(one, one) for one in ENDPOINT_METHODS], widget=UnfoldAdminSelectWidget)
    headers = HeadersField(required=False, help_text="One “Name: value” a line.")
    body = forms.CharField(required=False, strip=False, max_length=262_144, widget=_TEXT)
    address = forms.GenericIPAddressField(
        required=False, widget=UnfoldAdminTextInputWidget, help_text="Of the caller, where networks are allowed."
    )
    answer = forms.CharField(
        required=False, strip=False, max_length=262_144, widget=_TEXT, help_text="What a sync target might answer."
    )
    draft = forms.BooleanField(required=False, widget=UnfoldBooleanWidget, label="As the line's draft has it")


def page(request: HttpRequest, model_admin: ModelAdmin, endpoint_id: int) -> HttpResponse:
    """GET asks for a sample; POST shows the run below it."""
    if not request.user.has_perms(NEEDED):
        raise PermissionDenied
    endpoint = get_object_or_404(Endpoint.objects.select_related("line__project"), pk=endpoint_id)
    initial = {"method": endpoint.methods[0], "headers": {"content-type": "application/json"}, "body": "{}"}
    form = SampleForm(request.POST or None, initial=initial)
    title = f"Try {endpoint}"
    context: dict[str, Any] = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "page_title": title,
        "opts": model_admin.opts,
        "media": model_admin.media,
        "endpoint": endpoint,
        "form": form,
    }
    if form.is_bound and form.is_valid():
        try:
            context["run"] = _run(endpoint, form.cleaned_data)
        except Http404:
            context["problem"] = "The line has no draft with this endpoint."
        except LineRefused as refused:
            context["problem"] = f"The draft cannot be used any more: {refused}"
    return TemplateResponse(request, "relay/try_it.html", context)


def _run(endpoint: Endpoint, given: dict[str, Any]) -> Run:
    headers = {name.lower(): value for name, value in (given["headers"] or {}).items()}
    sample = Sample(given["method"], headers, _bytes(given["body"]), given["address"] or None)
    if given["answer"]:
        sample = replace(sample, answer=SampleAnswer(body=_bytes(given["answer"])))
    return (
        dry_run.run_draft(endpoint.line, endpoint.slug, sample) if given["draft"] else dry_run.run_now(endpoint, sample)
    )


def _bytes(text: str) -> bytes:
    """Browsers end each line of a text with two characters; a program that posts JSON ends it with one."""
    return text.replace("\r\n", "\n").encode("utf-8", "replace")
