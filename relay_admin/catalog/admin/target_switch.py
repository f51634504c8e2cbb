"""Actions of the list of targets: disable them, and enable them with what becomes of the deliveries kept back."""

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from relay_admin import pages
from relay_admin.access.models import User
from relay_admin.catalog.models import Target
from relay_admin.deliveries import target_services
from relay_admin.deliveries.target_services import Held

_LISTED = 20
_MAX_TARGETS = 200
"""Of one action: each is a transaction of its own, and more deliveries than that."""


class SwitchesTargets(admin.ModelAdmin):
    """See the module."""

    actions = ["disable", "enable_and_release", "enable_and_discard"]

    @admin.action(description="Disable: hold what is due", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Target]) -> None:
        """Nothing is sent any more; deliveries wait for whoever enables the target."""
        for target in queryset.filter(is_enabled=True)[:_MAX_TARGETS]:
            target_services.target_disable(target=target, by=cast("User", request.user))
            self.log_change(request, target, "Disabled.")
            self.message_user(request, f"{target} is disabled; its deliveries are held.", messages.SUCCESS)

    @admin.action(description="Enable: send what was held", permissions=["change"])
    def enable_and_release(self, request: HttpRequest, queryset: QuerySet[Target]) -> None:
        """Held deliveries are due at once."""
        self._enable(request, queryset, "release")

    @admin.action(description="Enable: discard what was held…", permissions=["change"])
    def enable_and_discard(self, request: HttpRequest, queryset: QuerySet[Target]) -> HttpResponse | None:
        """Asks first: what is discarded is never sent."""
        if request.POST.get("confirmed") == "yes":
            self._enable(request, queryset, "discard")
            return None
        targets: list[Any] = list(queryset[:_MAX_TARGETS])
        hidden = [("action", "enable_and_discard"), ("confirmed", "yes")]
        return pages.confirm(
            request,
            self,
            title="Discard what was held",
            text="Enable these targets and discard their held deliveries? They are never sent, and cost nothing.",
            button="Enable and discard",
            rows=[f"{target}: {target_services.held_count(target=target)} held" for target in targets[:_LISTED]],
            more=max(0, len(targets) - _LISTED),
            hidden=hidden + [(helpers.ACTION_CHECKBOX_NAME, str(target.pk)) for target in targets],
        )

    def _enable(self, request: HttpRequest, queryset: QuerySet[Target], held: Held) -> None:
        for target in queryset[:_MAX_TARGETS]:
            try:
                done = target_services.target_enable(target=target, held=held, by=cast("User", request.user))
            except ValidationError as error:
                self.message_user(request, f"{target}: {' '.join(error.messages)}", messages.ERROR)
                continue
            said = f"Enabled; released {done.released}, discarded {done.discarded} deliveries."
            self.log_change(request, target, said)
            self.message_user(request, f"{target}: {said}", messages.SUCCESS)
