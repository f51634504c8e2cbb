"""Beside the home itself, which is the admin's index."""

from django.contrib import admin
from django.urls import path

from relay_admin.home import first_steps, live

urlpatterns = [
    path("first-steps/", admin.site.admin_view(first_steps.page), name="first-steps"),
    path("first-steps/arrived/", admin.site.admin_view(first_steps.arrived), name="first-steps-arrived"),
    path("processes/", admin.site.admin_view(live.page), name="processes"),
]
