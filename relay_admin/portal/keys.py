"""A project's relay keys: made, changed, rotated, revoked. A token is in the one answer that made it.

Who pays for a key holds it: somebody who sees no key of the project, such as a customer, makes and sees their own.
"""

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_safe

from relay_admin.access import services
from relay_admin.access.key_life import may_make_endless
from relay_admin.access.key_successors import SuccessorGoneError, relay_key_successor_reveal
from relay_admin.access.models import RelayKey
from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.access.services import MintedRelayKey
from relay_admin.access.stand_ins import stand_ins
from relay_admin.account.forms import ConfirmForm
from relay_admin.account.page import add_errors, user_of
from relay_admin.portal.key_forms import KeyForm, NewKeyForm, RotateForm
from relay_admin.portal.page import FORM_METHODS, Place, portal_page, project_of, shown
from relay_contract.nouns import Payer

MOST_LISTED = 200
_RELATED = ("project", "policy", "rate_limit", "successor", "use")


@require_safe
@portal_page
def listed(request: HttpRequest, project: str) -> HttpResponse:
    """Newest first; those that ended last."""
    place, now = project_of(request, project, Act.OWN_KEYS), timezone.now()
    reach = rows_of(RelayKey, place.actor, Act.SEE_KEYS).filter(project=place.project)
    keys = reach.exclude(stand_ins()).select_related(*_RELATED)
    newest = list(keys.order_by("-pk")[: MOST_LISTED + 1])
    opened = rows_of(RelayKey, place.actor, Act.MANAGE_TEST_KEYS).filter(pk__in=[key.pk for key in newest])
    open_ids = set(opened.values_list("pk", flat=True))
    found = [{"key": key, "state": key.state(now), "is_open": key.pk in open_ids} for key in newest[:MOST_LISTED]]
    rows = sorted(found, key=lambda row: row["state"] in ("revoked", "expired"))
    return shown(request, "keys", place, rows=rows, has_more=len(newest) > MOST_LISTED)


@FORM_METHODS
@portal_page
def new(request: HttpRequest, project: str) -> HttpResponse:
    """A POST shows the token."""
    place = project_of(request, project, Act.OWN_KEYS)
    form = NewKeyForm(place, user_of(request), request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            endless = may_make_endless(place.actor, place.project)
            minted = services.relay_key_mint(
                project=place.project, created_by=user_of(request), may_be_endless=endless, **form.columns()
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
    place = project_of(request, project, Act.OWN_KEYS)
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
    state, is_anothers = key.state(timezone.now()), _is_anothers(request, key)
    return shown(request, "key", place, form=form, key=key, state=state, is_anothers=is_anothers)


@FORM_METHODS
@portal_page
def rotate(request: HttpRequest, project: str, key_number: int) -> HttpResponse:
    """Asks how long both are to work; a POST shows the successor's token."""
    place = project_of(request, project, Act.OWN_KEYS)
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
def successor(request: HttpRequest, project: str, key_number: int) -> HttpResponse:
    """Of a key that was rotated by itself: asks; a POST tells the successor's token, once. Then 410."""
    place = project_of(request, project, Act.OWN_KEYS)
    key = _key(place, key_number)
    _refuse_anothers(request, key)
    form = ConfirmForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            return _shown_once(request, place, relay_key_successor_reveal(relay_key=key), before=key)
        except SuccessorGoneError as gone:
            return shown(request, "said", place, status=410, title="Nothing to tell", text=str(gone))
    return shown(request, "key_successor", place, form=form, key=key)


@FORM_METHODS
@portal_page
def revoke(request: HttpRequest, project: str, key_number: int) -> HttpResponse:
    """Asks; a POST ends it."""
    place = project_of(request, project, Act.OWN_KEYS)
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


def _is_anothers(request: HttpRequest, key: RelayKey) -> bool:
    return key.pays == Payer.USER and key.user_id != user_of(request).pk


def _refuse_anothers(request: HttpRequest, key: RelayKey) -> None:
    """A key that a user pays for is theirs: others may revoke it, and no more. Raises PermissionDenied."""
    if _is_anothers(request, key):
        raise PermissionDenied("Who pays for this key changes it. You may revoke it.")


def _shown_once(
    request: HttpRequest, place: Place, minted: MintedRelayKey, before: RelayKey | None = None
) -> HttpResponse:
    if before is not None:
        before.refresh_from_db(fields=["expires_at", "has_successor"])
    return shown(request, "key_made", place, key=minted.relay_key, token=minted.token, before=before)
