"""What each delivery cost: a hold when it is accepted or replayed, and one close, which settles or releases it.

Rows are only ever added: a trigger refuses UPDATE and DELETE, and retention drops partitions. The key (delivery,
replay, phase) is what closes a delivery once: whoever comes second adds nothing. A row is one posting: a hold moves
credits from the wallet to suspense, a settlement from suspense to revenue and the rest back, a release back. The price
of a unit when it was held is `micro_credits / units`.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from relay_contract import intake

HOLD_PHASE, CLOSE_PHASE = 0, 1


class ChargeKind(models.TextChoices):
    """What a row does to the credits."""

    HOLD = "hold"
    SETTLE = "settle"  # the target has it, or failed it
    RELEASE = "release"  # the relay failed it, or an operator took it back


class Charge(models.Model):
    """One row of the ledger."""

    pk = models.CompositePrimaryKey("delivery_id", "replay", "phase")
    delivery_id = models.UUIDField()
    replay = models.SmallIntegerField()
    phase = models.SmallIntegerField(help_text="0: hold, 1: close.")
    kind = models.CharField(max_length=8, choices=ChargeKind.choices)
    request_id = models.UUIDField()
    project_id = models.BigIntegerField()
    relay_key_id = models.BigIntegerField(null=True, help_text="Of a hold; a close is read with its hold.")
    target_id = models.BigIntegerField()
    key_mode = models.CharField(max_length=8)
    micro_credits = models.BigIntegerField()
    units = models.IntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = intake.CHARGE_TABLE
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(name="ledger_charge_kinds", condition=Q(kind__in=["hold", "settle", "release"])),
            models.CheckConstraint(
                name="ledger_charge_phases",
                condition=(Q(phase=HOLD_PHASE) & Q(kind="hold")) | (Q(phase=CLOSE_PHASE) & ~Q(kind="hold")),
            ),
            models.CheckConstraint(name="ledger_charge_amounts", condition=Q(micro_credits__gte=0)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.delivery_id}"
