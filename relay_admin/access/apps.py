from django.apps import AppConfig
from django.contrib.auth.apps import AuthConfig


class AccessConfig(AppConfig):
    """People, and the bearers that they mint."""

    name = "relay_admin.access"
    verbose_name = "Access"


class GroupsConfig(AuthConfig):
    """Django's own app, of which only the groups have a page here: named as the sidebar names where they are."""

    verbose_name = "Access"
