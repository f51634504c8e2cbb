"""Another e-mail address, or the proof that the one of now is one's own: by a link that is sent there."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters

from relay_admin.access.mails import mail_queue, sends_mail
from relay_admin.access.models import MailKind, Purpose, Ticket, User
from relay_admin.access.people import address_confirm
from relay_admin.access.throttle import Action, Throttled, mail_begin
from relay_admin.access.tickets import ticket_of, ticket_use
from relay_admin.account.forms import ChangeAddressForm, ConfirmForm
from relay_admin.account.page import add_errors, link_is_over, of_link, said, shown, signed_in, user_of, waits
from relay_admin.account.sign_in import FORM_METHODS


@sensitive_post_parameters()
@FORM_METHODS
@signed_in
def ask(request: HttpRequest) -> HttpResponse:
    """The new address and the password. The address of now stays until the link was followed. The answer is the same
    for an address that is somebody else's, who is told by mail."""
    user = user_of(request)
    if not sends_mail():
        return said(request, "E-mail address", "This relay sends no mail. Ask whoever runs it to change your address.")
    form = ChangeAddressForm(request, user, request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return shown(request, "address", form=form)
    address = form.cleaned_data["email"]
    try:
        mail_begin(request.META.get("REMOTE_ADDR", ""), Action.VERIFY, address)
    except Throttled as throttled:
        return waits(request, throttled)
    mail_queue(kind=MailKind.VERIFY, address=address, user=user)
    text = f"A link to confirm it is on its way to {address}. Until you follow it, nothing changes."
    return said(request, "Look into your mailbox", text)


@FORM_METHODS
@signed_in
@of_link
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """For the account that asked, and nobody who was sent the link by mistake."""
    ticket, user = ticket_of(Purpose.VERIFY, token), user_of(request)
    if ticket is None or ticket.user != user:
        return link_is_over(request)
    form = ConfirmForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            is_done = _confirm(ticket, user)
        except ValidationError as refused:
            add_errors(form, refused)
        else:
            if not is_done:
                return link_is_over(request)
            messages.success(request, f"{ticket.address} is your e-mail address.")
            return redirect("account:home")
    return shown(request, "address_confirm", form=form, address=ticket.address)


@transaction.atomic
def _confirm(ticket: Ticket, user: User) -> bool:
    if not ticket_use(ticket):
        return False
    address_confirm(user=user, address=ticket.address)
    return True
