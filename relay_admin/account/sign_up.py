"""An account for whoever wants one, where `RELAY_SIGNUP` is `open`. The address is proved first: there is no account
before its owner followed the link, and nobody is told whether there is one."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from relay_admin.access.mails import mail_queue
from relay_admin.access.models import MailKind, Purpose, Ticket, User
from relay_admin.access.people import person_make
from relay_admin.access.throttle import Action, Throttled, mail_begin
from relay_admin.access.tickets import ticket_of, ticket_use
from relay_admin.account.forms import AddressForm, NewPasswordForm
from relay_admin.account.page import add_errors, link_is_over, of_link, public, said, shown, waits
from relay_admin.account.sign_in import FORM_METHODS


@FORM_METHODS
@public
def ask(request: HttpRequest) -> HttpResponse:
    """The address. The answer is the same for one that has an account, whose owner is told so by mail."""
    if settings.SIGNUP != "open":
        raise Http404
    form = AddressForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return shown(request, "sign_up", form=form)
    address = form.cleaned_data["email"]
    try:
        mail_begin(request.META.get("REMOTE_ADDR", ""), Action.SIGN_UP, address)
    except Throttled as throttled:
        return waits(request, throttled)
    mail_queue(kind=MailKind.SIGN_UP, address=address)
    return said(request, "Look into your mailbox", f"A link to go on with is on its way to {address}.")


@sensitive_post_parameters()
@sensitive_variables()
@FORM_METHODS
@of_link
def finish(request: HttpRequest, token: str) -> HttpResponse:
    """The password, behind the link."""
    ticket = ticket_of(Purpose.SIGN_UP, token) if settings.SIGNUP == "open" else None
    if ticket is None:
        return link_is_over(request)
    form = NewPasswordForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            user = _made(ticket, form.cleaned_data["new_password"])
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            if user is None:
                return link_is_over(request)
            login(request, user)
            messages.success(request, "Welcome. Your account is made.")
            return redirect("portal:projects")
    return shown(
        request, "new_password", form=form, title="Choose a password", address=ticket.address, button="Sign up"
    )


@transaction.atomic
def _made(ticket: Ticket, password: str) -> User | None:
    if not ticket_use(ticket):
        return None
    return person_make(address=ticket.address, password=password, is_verified=True)
