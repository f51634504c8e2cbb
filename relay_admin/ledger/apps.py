from django.apps import AppConfig


class LedgerConfig(AppConfig):
    """Credits: what was held, settled and released."""

    name = "relay_admin.ledger"
    verbose_name = "Ledger"
