"""`manage.py bootstrap`: the first superuser and admin token, from RELAY_BOOTSTRAP_*. Idempotent."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from relay_admin.access.services import user_bootstrap


class Command(BaseCommand):
    """Never resets a password that exists."""

    help = "Create the first superuser and its admin token from RELAY_BOOTSTRAP_* where they are missing."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """CommandError when the first user has no password, or the token is none."""
        try:
            made = user_bootstrap(
                username=settings.BOOTSTRAP_ADMIN_USERNAME,
                password=settings.BOOTSTRAP_ADMIN_PASSWORD,
                admin_token=settings.BOOTSTRAP_ADMIN_TOKEN or None,
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        for what, is_new in made.items():
            self.stdout.write(f"bootstrap: {what.replace('_', ' ')} {'created' if is_new else 'left as it is'}")
