from django.apps import AppConfig


class CatalogConfig(AppConfig):
    """What the relay serves: endpoints and inference."""

    name = "relay_admin.catalog"
    verbose_name = "Catalog"
