"""Addresses of the control API."""

from django.urls import path

from relay_admin.control_api import calls, catalog, deliveries, resolve, session, targets

urlpatterns = [
    path("auth/login", session.Login.as_view()),
    path("auth/logout", session.Logout.as_view()),
    path("auth/whoami", session.WhoAmI.as_view()),
    path("api/v1/requests/<uuid:request_id>", deliveries.RequestView.as_view()),
    path("api/v1/deliveries", deliveries.DeliveriesView.as_view()),
    path("api/v1/deliveries/replay", deliveries.ReplayView.as_view()),
    path("api/v1/calls", calls.CallsView.as_view()),
    path("api/v1/calls/<uuid:call_id>", calls.CallView.as_view()),
    path("api/v1/catalog", catalog.CatalogView.as_view()),
    path("api/v1/targets/<int:target_id>/secrets", targets.SecretsView.as_view()),
    path("api/v1/targets/<int:target_id>/secrets/<int:secret_id>", targets.SecretView.as_view()),
    path("api/v1/resolve", resolve.ResolveView.as_view()),
]
