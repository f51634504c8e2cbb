"""The history that the admin shows of a row. A relay key writes none: it is no user, and the audit log names it."""

from django.contrib.admin.models import LogEntry
from django.db.models import Model
from rest_framework.request import Request

from relay_admin.control_api.permissions import user_of


def note(call: Request, row: Model, action: int, said: str) -> None:
    """`action`: one of Django's flags."""
    if user := user_of(call):
        LogEntry.objects.log_actions(user.pk, [row], action, change_message=said, single_object=True)
