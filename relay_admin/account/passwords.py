"""A new password: by a link in a mail for who forgot it, with the old one for who is signed in."""

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from relay_admin.access.mails import mail_queue, sends_mail
from relay_admin.access.models import MailKind, Purpose, Ticket
from relay_admin.access.people import address_confirm, password_set
from relay_admin.access.throttle import Action, Throttled, mail_begin
from relay_admin.access.tickets import ticket_of, ticket_use
from relay_admin.account.forms import AddressForm, ChangePasswordForm, NewPasswordForm
from relay_admin.account.page import (
    add_errors,
    link_is_over,
    of_link,
    public,
    said,
    shown,
    signed_in,
    user_of,
    waits,
)
from relay_admin.account.sign_in import FORM_METHODS


@FORM_METHODS
@public
def ask(request: HttpRequest) -> HttpResponse:
    """The address. The answer is the same whether somebody has it."""
    if not sends_mail():
        return said(request, "Forgotten password", "This relay sends no mail. Ask whoever runs it for a new password.")
    form = AddressForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return shown(request, "reset", form=form)
    address = form.cleaned_data["email"]
    try:
        mail_begin(request.META.get("REMOTE_ADDR", ""), Action.RESET, address)
    except Throttled as throttled:
        return waits(request, throttled)
    mail_queue(kind=MailKind.RESET, address=address)
    text = f"If {address} is the address of an account, a link to set a new password is on its way to it."
    return said(request, "Look into your mailbox", text)


@sensitive_post_parameters()
@sensitive_variables()
@FORM_METHODS
@of_link
def reset(request: HttpRequest, token: str) -> HttpResponse:
    """The new password, behind the link. Signs nobody in: all sessions have ended, this browser's too."""
    ticket = ticket_of(Purpose.RESET, token)
    if ticket is None or ticket.user is None:
        return link_is_over(request)
    form = NewPasswordForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            is_done = _reset(ticket, form.cleaned_data["new_password"])
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            if not is_done:
                return link_is_over(request)
            text = (
                "Sign in with it. Every session and admin token of yours has ended, and no other sign-in opens your"
                " account any more."
            )
            return said(request, "Your password is changed", text)
    return shown(request, "new_password", form=form, title="New password", address=ticket.address, button="Set it")


@sensitive_post_parameters()
@sensitive_variables()
@FORM_METHODS
@signed_in
def change(request: HttpRequest) -> HttpResponse:
    """With the old one. All other sessions end, and admin tokens unless they are to stay; this session goes on under a
    new key."""
    user = user_of(request)
    form = ChangePasswordForm(request, user, request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            keeps = form.cleaned_data.get("keeps_admin_tokens", False)
            password_set(user=user, password=form.cleaned_data["new_password"], keeps_admin_tokens=keeps)
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            update_session_auth_hash(request, user)
            ended = "your other sessions" if keeps else "your other sessions and admin tokens"
            messages.success(request, f"Your password is changed, and {ended} have ended.")
            return redirect("account:home")
    return shown(request, "password", form=form)


@transaction.atomic
def _reset(ticket: Ticket, password: str) -> bool:
    if not ticket_use(ticket):
        return False
    assert ticket.user is not None
    password_set(user=ticket.user, password=password)
    address_confirm(user=ticket.user, address=ticket.user.email)  # they have just read their mail
    # Whoever had the account before, or made it in the owner's name, may have connected a sign-in of their own.
    ticket.user.external_identities.all().delete()
    return True
