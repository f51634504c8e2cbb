"""Addresses of `/portal/`. A project's are below `/portal/projects/{slug}/`, so that no slug meets a word of ours."""

from django.urls import include, path

from relay_admin.portal import projects

app_name = "portal"

of_project = [
    path("", projects.home, name="project"),
]

urlpatterns = [
    path("", projects.listed, name="projects"),
    path("projects/<str:project>/", include(of_project)),
]
