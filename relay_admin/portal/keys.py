"""A project's relay keys: made, changed, rotated, revoked. A token is in the one answer that made it."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_safe

from relay_admin.access import services
from relay_admin.access.key_life import may_make_endless
from relay_admin.access.models import RelayKey
from relay_admin.access.roles import Act, refusal
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.access.services import MintedRelayKey
from relay_admin.account.forms import ConfirmForm
from relay_admin.account.page import add_errors, user_of
from relay_admin.portal.key_forms import KeyForm, NewKeyForm, RotateForm
from relay_admin.portal.page import FORM_METHODS, Place, portal_page, project_of, shown
from relay_contract.nouns import KeyMode, Payer

MOST_LISTED = 200
_RELATED = ("project", "policy", "rate_limit", "successor")


@require_safe
@portal_page
def listed(request: HttpRequest, project: str) -> HttpResponse:
    """Newest first; those that ended last."""
    place, now = project_of(request, project, Act.SEE_KEYS), timezone.now()
    keys = rows_of(RelayKey, place.actor, Act.SEE_KEYS).filter(project=place.project).select_related(*_RELATED)
    found = [{"key": key, "state": key.state(now)} for key in keys.order_by("-pk")[: MOST_LISTED + 1]]
    rows = sorted(found[:MOST_LISTED], key=lambda row: row["state"] in ("revoked", "expired"))
    return shown(request, "keys", place, rows=rows, has_more=len(found) > MOST_LISTED)


@FORM_METHODS
@portal_page
def new(request: HttpRequest, project: str) -> HttpResponse:
    """A POST shows the token."""
    place = project_of(request, project, Act.MANAGE_TEST_KEYS)
    form = NewKeyForm(place, request.POST if request.method == "POST" else None)
    if form.is_valid():
        columns = form.columns()
        if columns["mode"] == KeyMode.LIVE and not place.may(Act.MANAGE_KEYS):
            raise PermissionDenied(refusal(Act.MANAGE_KEYS))
        try:
            endless = may_make_endless(place.actor, place.project)
            minted = services.relay_key_mint(
                project=place.project, created_by=user_of(request), may_be_endless=endless, **columns
            )
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            return _shown_once(request, place, minted)
    return shown(request, "key_new", place, form=form)


@FORM_METHODS
@portal_page
def one(request: HttpRequest, project: str, key_number: int) -> HttpResponse:
    """What it is, and a form that changes it."""
    place = project_of(request, project, Act.SEE_KEYS)
    key = _key(place, key_number)
    if request.method == "POST":
        _refuse_anothers(request, key)
    form = KeyForm(place, request.POST if request.method == "POST" else None, key)
    if form.is_valid():
        try:
            endless = may_make_endless(place.actor, place.project)
            services.relay_key_change(relay_key=key, changes=form.columns(), may_be_endless=endless)
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            messages.success(request, "The key is changed.")
            return redirect("portal:key", place.project.slug, key.pk)
    return shown(request, "key", place, form=form, key=key, state=key.state(timezone.now()))


@FORM_METHODS
@portal_page
def rotate(request: HttpRequest, project: str, key_number: int) -> HttpResponse:
    """Asks how long both are to work; a POST shows the successor's token."""
    place = project_of(request, project, Act.MANAGE_TEST_KEYS)
    key = _key(place, key_number)
    _refuse_anothers(request, key)
    form = RotateForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            minted = services.relay_key_rotate(
                relay_key=key, overlap=form.cleaned_data["overlap"], created_by=user_of(request)
            )
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            return _shown_once(request, place, minted, before=key)
    return shown(request, "key_rotate", place, form=form, key=key)


@FORM_METHODS
@portal_page
def revoke(request: HttpRequest, project: str, key_number: int) -> HttpResponse:
    """Asks; a POST ends it."""
    place = project_of(request, project, Act.MANAGE_TEST_KEYS)
    key = _key(place, key_number)
    form = ConfirmForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        is_first = services.relay_key_revoke(relay_key=key)
        messages.success(request, f"{key.name} is revoked." if is_first else f"{key.name} was revoked before.")
        return redirect("portal:keys", place.project.slug)
    return shown(request, "key_revoke", place, form=form, key=key)


def _key(place: Place, key_number: int) -> RelayKey:
    named = {"pk": key_number, "project": place.project}
    return one_of(RelayKey, place.actor, Act.MANAGE_TEST_KEYS, *_RELATED, **named)


def _refuse_anothers(request: HttpRequest, key: RelayKey) -> None:
    """A key that a user pays for is theirs: others may revoke it, and no more. Raises PermissionDenied."""
    if key.pays == Payer.USER and key.user_id != user_of(request).pk:
        raise PermissionDenied("Who pays for this key changes it. You may revoke it.")


def _shown_once(
    request: HttpRequest, place: Place, minted: MintedRelayKey, before: RelayKey | None = None
) -> HttpResponse:
    if before is not None:
        before.refresh_from_db(fields=["expires_at", "has_successor"])
    return shown(request, "key_made", place, key=minted.relay_key, token=minted.token, before=before)
