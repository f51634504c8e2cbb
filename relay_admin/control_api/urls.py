"""Addresses of the control API."""

from django.urls import path

from relay_admin.control_api import calls, catalog, deliveries, replays, requests, resolve, session

urlpatterns = [
    path("auth/login", session.Login.as_view()),
    path("auth/logout", session.Logout.as_view()),
    path("auth/whoami", session.WhoAmI.as_view()),
    path("api/v1/requests", requests.RequestsView.as_view()),
    path("api/v1/requests/<uuid:request_id>", requests.RequestView.as_view()),
    path("api/v1/deliveries", deliveries.DeliveriesView.as_view()),
    path("api/v1/deliveries/replay", deliveries.ReplayView.as_view()),
    path("api/v1/replays", replays.ReplaysView.as_view()),
    path("api/v1/replays/<int:batch_id>", replays.ReplayView.as_view()),
    path("api/v1/replays/<int:batch_id>/<slug:word>", replays.ReplayTurnView.as_view()),
    path("api/v1/calls", calls.CallsView.as_view()),
    path("api/v1/calls/<uuid:call_id>", calls.CallView.as_view()),
    path("api/v1/catalog", catalog.CatalogView.as_view()),
    path("api/v1/resolve", resolve.ResolveView.as_view()),
]
