"""Addresses of the control API."""

from django.urls import path

from relay_admin.control_api import (
    alerts,
    calls,
    catalog,
    deliveries,
    dry_run,
    lines,
    replays,
    requests,
    resolve,
    session,
    shadows,
    signature_secrets,
    target_switch,
    targets,
)

urlpatterns = [
    path("auth/login", session.Login.as_view()),
    path("auth/logout", session.Logout.as_view()),
    path("auth/whoami", session.WhoAmI.as_view()),
    path("api/v1/requests", requests.RequestsView.as_view()),
    path("api/v1/requests/<uuid:request_id>", requests.RequestView.as_view()),
    path("api/v1/deliveries", deliveries.DeliveriesView.as_view()),
    path("api/v1/deliveries/replay", deliveries.ReplayView.as_view()),
    path("api/v1/targets/<int:target_id>/enable", target_switch.EnableTargetView.as_view()),
    path("api/v1/targets/<int:target_id>/disable", target_switch.DisableTargetView.as_view()),
    path("api/v1/replays", replays.ReplaysView.as_view()),
    path("api/v1/replays/<int:batch_id>", replays.ReplayView.as_view()),
    path("api/v1/replays/<int:batch_id>/<slug:word>", replays.ReplayTurnView.as_view()),
    path("api/v1/calls", calls.CallsView.as_view()),
    path("api/v1/calls/<uuid:call_id>", calls.CallView.as_view()),
    path("api/v1/catalog", catalog.CatalogView.as_view()),
    path("api/v1/shadows/<int:target_id>/report", shadows.ShadowReportView.as_view()),
    path(
        "api/v1/endpoints/<str:project>/<str:line>/<str:endpoint>/signature-secret",
        signature_secrets.SignatureSecretView.as_view(),
    ),
    path("api/v1/alerts/rules", alerts.RulesView.as_view()),
    path("api/v1/alerts/rules/<int:rule_id>", alerts.RuleView.as_view()),
    path("api/v1/alerts/events", alerts.EventsView.as_view()),
    path("api/v1/targets/<int:target_id>/secrets", targets.SecretsView.as_view()),
    path("api/v1/targets/<int:target_id>/secrets/<int:secret_id>", targets.SecretView.as_view()),
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
