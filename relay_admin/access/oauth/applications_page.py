"""`/account/applications`: what somebody allows applications, with a button that takes it back."""

from decimal import Decimal
from typing import cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from relay_admin.access.models import User
from relay_admin.access.oauth import revocation
from relay_admin.access.oauth.models import Authorization
from relay_admin.access.oauth.pages import page as page_of
from relay_admin.access.oauth.scopes import SCOPES
from relay_contract.credits import MICRO


@login_required
@require_http_methods(["GET", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """The list; a POST with `revoke`: an authorization's id. Another's is one that is not there."""
    user, said = cast("User", request.user), ""
    rows = Authorization.objects.filter(user=user, revoked_at=None).select_related("application__project")
    if request.method == "POST":
        wanted = request.POST.get("revoke", "")
        found = rows.filter(pk=int(wanted) if wanted.isdecimal() and len(wanted) < 19 else 0).first()
        if found is not None and revocation.authorization_revoke(found):
            said = f"{found.application.name} may not use your account any more."
        else:
            said = "There was nothing to revoke."
    listed = [
        {
            "authorization": row,
            "scopes": [SCOPES[name] for name in row.scopes if name in SCOPES],
            "cap": None if row.cap_microcredits is None else Decimal(row.cap_microcredits) / MICRO,
        }
        for row in rows.all()
    ]
    return page_of(request, "oauth/applications.html", {"rows": listed, "said": said})
