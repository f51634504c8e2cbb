"""Addresses of `/portal/`. A project's are below `/portal/projects/{slug}/`, so that no slug meets a word of ours."""

from django.urls import include, path

from relay_admin.portal import keys, member_budgets, members, money_urls, project_settings, projects

app_name = "portal"

of_project = [
    path("", projects.home, name="project"),
    path("keys", keys.listed, name="keys"),
    path("keys/new", keys.new, name="key-new"),
    path("keys/<int:key_number>", keys.one, name="key"),
    path("keys/<int:key_number>/rotate", keys.rotate, name="key-rotate"),
    path("keys/<int:key_number>/revoke", keys.revoke, name="key-revoke"),
    path("members", members.listed, name="members"),
    path("members/<int:member_number>", members.one, name="member"),
    path("members/budget", member_budgets.of_all, name="members-budget"),
    path("members/<int:member_number>/budget", member_budgets.of_one, name="member-budget"),
    path("members/<int:member_number>/remove", members.remove, name="member-remove"),
    path("invitations/<int:invitation_number>/take-back", members.take_back, name="invitation-take-back"),
    path("settings", project_settings.page, name="settings"),
    path("settings/leave", project_settings.leave, name="settings-leave"),
    path("settings/transfer", project_settings.transfer, name="settings-transfer"),
    *money_urls.of_project,
]

urlpatterns = [
    path("", projects.listed, name="projects"),
    *money_urls.of_person,
    path("projects/<str:project>/", include(of_project)),
]
