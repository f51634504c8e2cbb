from django.apps import AppConfig


class TrafficConfig(AppConfig):
    """Calls to models and what they used."""

    name = "relay_admin.traffic"
    verbose_name = "Inference"
