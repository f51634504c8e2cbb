"""Addresses of `/portal/`. A project's are below `/portal/projects/{slug}/`, so that no slug meets a word of ours."""

from django.urls import include, path

from relay_admin.portal import money_urls, projects

app_name = "portal"

of_project = [
    path("", projects.home, name="project"),
    *money_urls.of_project,
]

urlpatterns = [
    path("", projects.listed, name="projects"),
    *money_urls.of_person,
    path("projects/<str:project>/", include(of_project)),
]
