"""The way from a row's page to its changes in the audit log."""

from typing import Any

from django import template
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from relay_admin.access.audit import SUBJECTS

register = template.Library()


@register.simple_tag
def audit_url(request: HttpRequest, opts: Any, row: models.Model | None) -> str:
    """Empty where the row is not audited, and for who may not read the log."""
    if row is None or opts.label_lower not in SUBJECTS or not request.user.has_perm("access.view_auditevent"):
        return ""
    return f"{reverse('admin:access_auditevent_changelist')}?{urlencode({'what': opts.label_lower, 'id_is': row.pk})}"
