"""Accepting an invitation: as the one signed in with its address, or as somebody new.

Whoever has no session sees one page, whether or not there is an account with the address. An account that is made here
has an address that nobody proved: the link may have come from the inviter's hands. Its owner can always take it back by
a password reset.
"""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from relay_admin.access.invitations import invitation_accept, invitation_of
from relay_admin.access.mails import mail_queue
from relay_admin.access.models import Invitation, MailKind, User
from relay_admin.access.people import person_make
from relay_admin.account.forms import ConfirmForm, NewPasswordForm
from relay_admin.account.page import add_errors, link_is_over, of_link, said, shown, user_of
from relay_admin.account.sign_in import FORM_METHODS


@sensitive_post_parameters()
@sensitive_variables()
@FORM_METHODS
@of_link
def accept(request: HttpRequest, token: str) -> HttpResponse:
    """Both ways."""
    invitation = invitation_of(token)
    if invitation is None:
        return link_is_over(request)
    if not request.user.is_authenticated:
        return _as_somebody_new(request, invitation)
    if user_of(request).email.lower() != invitation.email.lower():
        text = f"It is for another address than {user_of(request).email}. Sign out, and open the link again."
        return said(request, "This invitation is not yours", text, status=403)
    return _as_oneself(request, invitation)


def _as_oneself(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    form = ConfirmForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            invitation_accept(invitation=invitation, user=user_of(request))
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            messages.success(request, "The invitation is accepted.")
            return _onward(invitation)
    return shown(request, "invitation", form=form, **_place(invitation))


def _as_somebody_new(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    if settings.SIGNUP == "off":
        return shown(request, "invitation_sign_in", **_place(invitation))
    form = NewPasswordForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            user = _made(invitation, form.cleaned_data["new_password"])
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            login(request, user)
            messages.success(request, "Welcome. Your account is made.")
            return _onward(invitation)
    return shown(request, "invitation_new", form=form, address=invitation.email, **_place(invitation))


@transaction.atomic
def _made(invitation: Invitation, password: str) -> User:
    user = person_make(address=invitation.email, password=password, is_verified=False)
    invitation_accept(invitation=invitation, user=user)
    mail_queue(kind=MailKind.VERIFY, address=user.email, user=user)
    return user


def _onward(invitation: Invitation) -> HttpResponse:
    if invitation.project is None or invitation.project.is_archived:
        return redirect("portal:projects")
    return redirect("portal:project", invitation.project.slug)


def _place(invitation: Invitation) -> dict[str, str]:
    return {"project": invitation.project.name if invitation.project else "", "role": invitation.role}
