"""Forms as a browser sends them: every field as the page offers it, then what was typed."""

from typing import Any

from django.db import models
from django.test import Client


def offered(client: Client, url: str) -> dict[str, Any]:
    """What the page's own form shows, without its inline rows."""
    form = client.get(url).context["adminform"].form
    shown = {field.name: field.value() for field in form}
    return {name: value.pk if isinstance(value, models.Model) else value for name, value in shown.items() if value}


def new_target(client: Client) -> dict[str, Any]:
    """A new target as its page offers it: every default that has one."""
    return offered(client, "/admin/catalog/target/add/")
