"""Every address of the control plane. Nothing here is on the path of a caller's request."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseServerError, JsonResponse
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from relay_admin import document_page, graph_page, money_page, resolve_page, sessions_page, shadow_page
from relay_admin.access.request_actor import API_PREFIXES
from relay_admin.account import sign_in
from relay_admin.console import page as console_page
from relay_admin.control_api import errors
from relay_admin.health import healthz
from relay_admin.ledger import hooks


def server_error(request: HttpRequest) -> HttpResponseBase:
    """500: JSON for programs, a sentence for people. Django has logged the exception by now."""
    if request.path.startswith(API_PREFIXES):
        return JsonResponse(errors.INTERNAL, status=500)
    return HttpResponseServerError(
        "The control plane failed on this page. Its log says why.", content_type="text/plain"
    )


@csrf_exempt  # it does nothing, and a program that asks with POST is to be told so too
def api_not_found(_request: HttpRequest, _path: str) -> HttpResponse:
    """404 in the API's own shape."""
    return JsonResponse(errors.NOT_FOUND, status=404)


handler500 = "relay_admin.urls.server_error"

urlpatterns = [
    path("", sign_in.begin),
    path("healthz", healthz),
    path("admin/catalog-document/", admin.site.admin_view(document_page.page), name="catalog-document"),
    path("admin/catalog-document/download", admin.site.admin_view(document_page.download), name="catalog-download"),
    path("admin/catalog-graph/", admin.site.admin_view(graph_page.page), name="catalog-graph"),
    path("admin/console/", admin.site.admin_view(console_page.page), name="console"),
    path("admin/console/send", admin.site.admin_view(console_page.send), name="console-send"),
    path("admin/console/recorded", admin.site.admin_view(console_page.recorded), name="console-recorded"),
    path("admin/money/", admin.site.admin_view(money_page.page), name="money"),
    path("admin/resolve/", admin.site.admin_view(resolve_page.page), name="resolve"),
    path("admin/sessions/", admin.site.admin_view(sessions_page.page), name="sessions"),
    path("admin/shadows/", admin.site.admin_view(shadow_page.page), name="shadows"),
    # Django's own counts no guesses at the old password, and says nothing of admin tokens.
    path("admin/password_change/", RedirectView.as_view(pattern_name="account:password")),
    path("admin/", include("relay_admin.home.urls")),
    path("admin/", admin.site.urls),
    path("", include("relay_admin.access.oauth.urls")),
    path("account/", include("relay_admin.account.urls")),
    path("portal/", include("relay_admin.portal.urls")),
    path("hooks/stripe", hooks.stripe),
    path("", include("relay_admin.control_api.urls")),
    re_path(r"^(?:api|auth)/([\s\S]*)$", api_not_found),  # also where an address holds a line's end
]
