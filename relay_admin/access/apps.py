from django.apps import AppConfig


class AccessConfig(AppConfig):
    """People, and the bearers that they mint."""

    name = "relay_admin.access"
    verbose_name = "Access"
