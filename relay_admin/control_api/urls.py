"""Addresses of the control API."""

from django.urls import path

from relay_admin.control_api import calls, catalog, deliveries, dry_run, lines, resolve, session

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
    path("api/v1/lines/<str:project>/<str:line>/draft", lines.DraftView.as_view()),
    path("api/v1/lines/<str:project>/<str:line>/diff", lines.DiffView.as_view()),
    path("api/v1/lines/<str:project>/<str:line>/publish", lines.PublishView.as_view()),
    path("api/v1/lines/<str:project>/<str:line>/revisions", lines.RevisionsView.as_view()),
    path("api/v1/lines/<str:project>/<str:line>/revisions/<int:number>", lines.RevisionView.as_view()),
    path("api/v1/lines/<str:project>/<str:line>/revisions/<int:number>/rollback", lines.RollbackView.as_view()),
    path(
        "api/v1/endpoints/<str:project>/<str:line>/<str:endpoint>/dry-run",
        dry_run.DryRunView.as_view(),
    ),
    path("api/v1/resolve", resolve.ResolveView.as_view()),
]
