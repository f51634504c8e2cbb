from django.apps import AppConfig


class DeliveriesConfig(AppConfig):
    """Accepted requests and what became of them."""

    name = "relay_admin.deliveries"
    verbose_name = "Traffic"
