"""What each delivery cost: a hold when it is accepted or replayed, and one close, which settles or releases it.

Rows are only ever added: a trigger refuses UPDATE and DELETE, and retention drops partitions. The key (delivery,
replay, phase) is what closes a delivery once: whoever comes second adds nothing. The price of a unit when it was held
is `micro_credits / units`.

Everything else is an `Entry`: one amount from one account to another. Both books feed the accounts' balances, charges
as rows from the project's wallet to revenue. Triggers write what each statement adds as deltas, and `folding.py` adds
those to balances and days, so that no statement of the traffic touches a balance.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from relay_contract import intake
from relay_contract.ledger import MAX_AMOUNT, AccountKind
from relay_contract.nouns import KeyMode

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
    held_microcredits = models.BigIntegerField(
        null=True, help_text="Of a close: what its hold was, where that is not `micro_credits`."
    )
    at = models.DateTimeField(db_default=Now())
    generation = models.IntegerField(null=True, help_text="Of the purses, of a hold that they gave.")

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


class Account(models.Model):
    """Whose credits. Those of a project or user are made by a trigger with it, and outlive it."""

    id = models.BigIntegerField(primary_key=True, help_text="Even: live; odd: test.")
    kind = models.CharField(max_length=16, choices=[(str(kind), str(kind)) for kind in AccountKind])
    mode = models.CharField(max_length=8, choices=[(str(mode), str(mode)) for mode in KeyMode])
    project_id = models.BigIntegerField(null=True)
    user_id = models.BigIntegerField(null=True, help_text="Neither project nor user: the relay's own.")
    created_at = models.DateTimeField(db_default=Now())
    overdraft_microcredits = models.BigIntegerField(
        db_default=0, help_text="How far below 0 a prepaid project's calls may take it."
    )
    low_balance_microcredits = models.BigIntegerField(null=True, help_text="Below it alerts tell of a low balance.")

    class Meta:
        db_table = "ledger_account"
        default_permissions = ("view",)
        permissions = [("post_entry", "Can grant credits and adjust accounts")]
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                name="ledger_account_overdrafts", condition=Q(overdraft_microcredits__range=(0, MAX_AMOUNT))
            ),
            models.CheckConstraint(
                name="ledger_account_low_balances", condition=Q(low_balance_microcredits__range=(0, MAX_AMOUNT))
            ),
        ]

    def __str__(self) -> str:
        owners = (("project", self.project_id), ("user", self.user_id))
        whose = "".join(f" of {noun} {owner_id}" for noun, owner_id in owners if owner_id)
        return f"{self.mode} {self.kind}{whose}"

    @property
    def is_owned(self) -> bool:
        """Not the relay's own."""
        return self.project_id is not None or self.user_id is not None


class Entry(models.Model):
    """One amount from one account to another, for good."""

    pk = models.CompositePrimaryKey("source", "kind")
    source = models.UUIDField(help_text="What it was posted for: UUIDv7.")
    kind = models.SmallIntegerField(help_text="An EntryKind.")
    debit_id = models.BigIntegerField()
    credit_id = models.BigIntegerField()
    amount = models.BigIntegerField(help_text="Micro-credits.")
    at = models.DateTimeField(db_default=Now())
    by_id = models.BigIntegerField(null=True, help_text="The user who asked for it.")
    note = models.CharField(max_length=200, help_text="Why.")
    generation = models.IntegerField(null=True, help_text="Of the purses, of a call that they let in.")
    project_id = models.BigIntegerField(null=True, help_text="Of a call, and so the three below.")
    terms_id = models.BigIntegerField(null=True)
    pricing_id = models.BigIntegerField(null=True)
    pricing_version = models.IntegerField(null=True)
    application_id = models.BigIntegerField(null=True, help_text="Of a call with an access token.")

    class Meta:
        db_table = "ledger_entry"
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(name="ledger_entry_amounts", condition=Q(amount__gt=0)),
            models.CheckConstraint(name="ledger_entry_sides", condition=~Q(debit_id=models.F("credit_id"))),
        ]

    def __str__(self) -> str:
        return f"{self.amount} from {self.debit_id} to {self.credit_id}"


class Delta(models.Model):
    """What one statement added to an account's entries, until it is folded."""

    id = models.BigAutoField(primary_key=True)
    account = models.ForeignKey(Account, models.DO_NOTHING, db_index=False)
    day = models.DateField()
    kind = models.SmallIntegerField()
    debit = models.BigIntegerField()
    credit = models.BigIntegerField()
    entries = models.IntegerField()
    generation = models.IntegerField(null=True, help_text="Of the purses that gave the debit.")

    class Meta:
        db_table = "ledger_delta"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.credit - self.debit} of account {self.account_id}"


class ChargeDelta(models.Model):
    """What one statement added to a project's charges, until it is folded."""

    id = models.BigAutoField(primary_key=True)
    project_id = models.BigIntegerField()
    key_mode = models.CharField(max_length=8)
    day = models.DateField()
    held = models.BigIntegerField()
    unheld = models.BigIntegerField(help_text="Of holds that were closed.")
    settled = models.BigIntegerField()
    entries = models.IntegerField(help_text="Settlements.")
    generation = models.IntegerField(null=True, help_text="Of the purses that gave what is held.")

    class Meta:
        db_table = "ledger_chargedelta"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.settled} of project {self.project_id}"


class Balance(models.Model):
    """What was folded of an account. `accounts.py` adds what was not."""

    account = models.OneToOneField(Account, models.DO_NOTHING, primary_key=True, related_name="+")
    debit = models.BigIntegerField()
    credit = models.BigIntegerField()
    open_holds = models.BigIntegerField(help_text="Held for deliveries that are not over.")
    folded_at = models.DateTimeField()
    is_purse = models.BooleanField(db_default=False, help_text="Whether Redis is told of it.")
    version = models.BigIntegerField(db_default=0, help_text="Grows with each change that a purse is to know.")
    closed_generation = models.IntegerField(db_default=0, help_text="What was taken up to it is in the balance alone.")

    class Meta:
        indexes = [models.Index(fields=["version"], condition=Q(is_purse=True), name="ledger_balance_purses")]
        db_table = "ledger_balance"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.credit - self.debit} of account {self.account_id}"


class Taken(models.Model):
    """What was folded of what a purse gave under a generation that is open for the account. Rows of closed ones count
    for nothing."""

    pk = models.CompositePrimaryKey("account_id", "generation")
    account = models.ForeignKey(Account, models.DO_NOTHING, db_index=False, related_name="+")
    generation = models.IntegerField()
    taken = models.BigIntegerField()

    class Meta:
        db_table = "ledger_taken"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.taken} of account {self.account_id} under {self.generation}"


class Day(models.Model):
    """What was folded of an account's day, UTC, by kind of entry."""

    pk = models.CompositePrimaryKey("account_id", "day", "kind")
    account = models.ForeignKey(Account, models.DO_NOTHING, db_index=False)
    day = models.DateField()
    kind = models.SmallIntegerField()
    debit = models.BigIntegerField()
    credit = models.BigIntegerField()
    entries = models.BigIntegerField()

    class Meta:
        db_table = "ledger_day"
        default_permissions = ()

    def __str__(self) -> str:
        return f"account {self.account_id} on {self.day}"


class Keeping(models.Model):
    """What the keeper of the purses last said of them; one row."""

    id = models.SmallIntegerField(primary_key=True)
    at = models.DateTimeField()
    closed_since = models.DateTimeField(null=True, help_text="Null: purses pay.")
    generation = models.IntegerField(help_text="That is given, or was before money was closed.")
    open_generations = models.IntegerField()
    edges = models.IntegerField(help_text="Edge processes that live.")

    class Meta:
        db_table = "ledger_keeping"
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(id=1), name="ledger_keeping_once")]

    def __str__(self) -> str:
        return f"keeper at {self.at}"


class ReconcileRun(models.Model):
    """One comparison of what is kept twice."""

    id = models.BigAutoField(primary_key=True)
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, help_text="Null: it was cut off, or goes on.")
    asked_by_id = models.BigIntegerField(null=True, help_text="Null: the schedule, or a command.")
    checks = models.JSONField(help_text="Each check's drifts.")

    class Meta:
        db_table = "ledger_reconcilerun"
        default_permissions = ()
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"of {self.started_at:%Y-%m-%d %H:%M}"


class FoundDrift(models.Model):
    """What a run found: two figures that should be one."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(ReconcileRun, models.CASCADE, related_name="drifts")
    code = models.CharField(max_length=32)
    subject = models.CharField(max_length=200)
    expected = models.BigIntegerField(null=True)
    found = models.BigIntegerField(null=True)
    account_id = models.BigIntegerField(null=True, help_text="Where its rows are to be seen.")
    rows = models.JSONField(db_default=[], help_text="The first that are behind it, as `drifts.Row` has them.")
    row_count = models.BigIntegerField(db_default=0, help_text="Of all of them.")

    class Meta:
        db_table = "ledger_drift"
        default_permissions = ()
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.code}: {self.subject}"


class TopUpState(models.TextChoices):
    """How far the money got."""

    PENDING = "pending"
    PAID = "paid"
    FAILED = "failed"  # by all that is known: money that comes nevertheless is credited
    REFUNDED = "refunded"  # all of it


class TopUp(models.Model):
    """Credits that were or are to be paid for. Its entry has its source; `topups.py` writes it."""

    source = models.UUIDField(unique=True, help_text="Of its entry: UUIDv7.")
    account = models.ForeignKey(Account, models.DO_NOTHING, related_name="+")
    microcredits = models.BigIntegerField()
    price_minor = models.BigIntegerField(help_text="In the currency's smallest unit, such as cents.")
    currency = models.CharField(max_length=3, help_text="ISO 4217, in lower case.")
    provider = models.CharField(max_length=16)
    reference = models.CharField(max_length=255, blank=True, help_text="The provider's checkout; empty: not known yet.")
    payment = models.CharField(max_length=255, blank=True, help_text="The provider's payment.")
    state = models.CharField(max_length=8, choices=TopUpState.choices, default=TopUpState.PENDING)
    by_id = models.BigIntegerField(null=True, help_text="The user who asked for it.")
    created_at = models.DateTimeField(db_default=Now())
    paid_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "ledger_topup"
        verbose_name = "top-up"
        ordering = ["-id"]
        default_permissions = ("view", "add")
        permissions = [("refund_topup", "Can refund top-ups that were paid outside")]
        constraints = [
            models.CheckConstraint(name="ledger_topup_amounts", condition=Q(microcredits__gt=0, price_minor__gt=0)),
            models.CheckConstraint(name="ledger_topup_states", condition=Q(state__in=TopUpState.values)),
            models.UniqueConstraint(
                name="ledger_topup_reference", fields=["provider", "reference"], condition=~Q(reference="")
            ),
            models.UniqueConstraint(
                name="ledger_topup_payment", fields=["provider", "payment"], condition=~Q(payment="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.price_minor} {self.currency} for account {self.account_id}"


class PaymentEvent(models.Model):
    """What a provider told, once each. Of an early one the top-up is not known to be paid yet: it is counted then."""

    provider = models.CharField(max_length=16)
    event_id = models.CharField(max_length=255)
    kind = models.CharField(max_length=16)
    top_up = models.ForeignKey(TopUp, models.DO_NOTHING, null=True, related_name="+")
    payment = models.CharField(max_length=255)
    price_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    is_live = models.BooleanField()
    outcome = models.CharField(max_length=16)
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_paymentevent"
        default_permissions = ()
        constraints = [models.UniqueConstraint(name="ledger_paymentevent_once", fields=["provider", "event_id"])]
        indexes = [models.Index(name="ledger_paymentevent_payment", fields=["provider", "payment"])]

    def __str__(self) -> str:
        return f"{self.kind} {self.event_id}"


class RefundReason(models.TextChoices):
    """Why credits were taken back or given again."""

    REFUND = "refund"
    DISPUTE = "dispute"
    DISPUTE_WON = "dispute_won"


class Refund(models.Model):
    """Money of a top-up that went back, and the credits that went with it. Only ever added."""

    source = models.UUIDField(primary_key=True, help_text="Of its entry, which it has unless no credits moved.")
    top_up = models.ForeignKey(TopUp, models.DO_NOTHING, related_name="refunds")
    why = models.CharField(max_length=16, choices=RefundReason.choices)
    price_minor = models.BigIntegerField(help_text="Below 0: it came again.")
    microcredits = models.BigIntegerField(help_text="Below 0: given again.")
    by_id = models.BigIntegerField(null=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_refund"
        default_permissions = ()
        ordering = ["at", "source"]

    def __str__(self) -> str:
        return f"{self.why} of {self.price_minor}"


class CreditCode(models.Model):
    """Whoever has the code gets credits, each user once. The code itself is nowhere but with them."""

    code_hash = models.BinaryField(unique=True)
    hint = models.CharField(max_length=4, help_text="The code's last letters.")
    mode = models.CharField(max_length=8, choices=[(str(mode), str(mode)) for mode in KeyMode])
    microcredits = models.BigIntegerField(help_text="For each who redeems it.")
    most_uses = models.IntegerField(default=1)
    uses = models.IntegerField(default=0)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="In UTC. Empty: it does not expire.")
    is_enabled = models.BooleanField(default=True)
    note = models.CharField(max_length=200, help_text="What it is for. Kept with each entry.")
    by_id = models.BigIntegerField(null=True, help_text="The user who made it.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_creditcode"
        ordering = ["-id"]
        default_permissions = ("view", "add", "change")
        permissions = [("redeem_creditcode", "Can redeem credit codes")]
        constraints = [
            models.CheckConstraint(name="ledger_creditcode_amounts", condition=Q(microcredits__gt=0, most_uses__gt=0)),
            models.CheckConstraint(
                name="ledger_creditcode_uses", condition=Q(uses__gte=0, uses__lte=models.F("most_uses"))
            ),
        ]

    def __str__(self) -> str:
        return f"…{self.hint}"


class CodeRedemption(models.Model):
    """Who redeemed a code, for which wallet. Only ever added."""

    source = models.UUIDField(primary_key=True, help_text="Of its entry.")
    code = models.ForeignKey(CreditCode, models.DO_NOTHING, related_name="redemptions")
    user_id = models.BigIntegerField()
    account = models.ForeignKey(Account, models.DO_NOTHING, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_coderedemption"
        default_permissions = ()
        constraints = [models.UniqueConstraint(name="ledger_coderedemption_once", fields=["code", "user_id"])]

    def __str__(self) -> str:
        return f"{self.code_id} by {self.user_id}"


class Invoice(models.Model):
    """What moved on a wallet in a month. Only ever added; its numbers of a year have no gaps."""

    year = models.IntegerField(help_text="In which it was issued.")
    number = models.IntegerField(help_text="From 1, within its year.")
    account = models.ForeignKey(Account, models.DO_NOTHING, related_name="+")
    owner = models.CharField(max_length=200, help_text="As it was called when it was issued.")
    period_start = models.DateField()
    period_end = models.DateField(help_text="The day after its last.")
    opening_microcredits = models.BigIntegerField()
    closing_microcredits = models.BigIntegerField()
    lines = models.JSONField(help_text="By kind: entries, debit, credit, in micro-credits.")
    payments = models.JSONField(
        help_text="Top-ups paid and refunded: at, reference, price_minor, currency, microcredits."
    )
    issued_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_invoice"
        ordering = ["-id"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(name="ledger_invoice_number", fields=["year", "number"]),
            models.UniqueConstraint(name="ledger_invoice_once", fields=["account", "period_start"]),
        ]

    def __str__(self) -> str:
        return f"{self.year}-{self.number:06}"


class Due(models.Model):
    """A call whose charge is not posted yet. A trigger writes it with the call, and a worker takes it away."""

    id = models.UUIDField(primary_key=True)
    tries = models.SmallIntegerField(db_default=0)
    error = models.CharField(max_length=200, db_default="", help_text="Why the last try came to nothing.")
    not_before = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_due"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.id)


class Terms(models.Model):
    """How a project marks up what its users' calls cost, and how that is shared. Never changed: calls name theirs."""

    id = models.BigAutoField(primary_key=True)
    project_id = models.BigIntegerField()
    markup_ppm = models.IntegerField(help_text="Of the cost, on top.")
    owner_ppm = models.IntegerField(help_text="Of the mark-up: the project's. The rest is the relay's.")
    referral_ppm = models.IntegerField(help_text="Of the project's part: of who brought the user.")
    by_id = models.BigIntegerField(null=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_terms"
        default_permissions = ()
        verbose_name_plural = "terms"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.markup_ppm} ppm of project {self.project_id}"


class Usage(models.Model):
    """Sums of calls or deliveries that have one hour, project, key and so on. 0 and "": none, or of no matter.

    Deliveries are there twice: when they were accepted, by key and its user, as budgets count them, and when they were
    settled, by target.
    """

    hour = models.DateTimeField()
    project_id = models.BigIntegerField()
    mode = models.CharField(max_length=8)
    what = models.CharField(max_length=8, help_text="call, delivery")  # and accepted
    relay_key_id = models.BigIntegerField()
    user_id = models.BigIntegerField()
    application_id = models.BigIntegerField()
    model = models.CharField(max_length=128)
    target_id = models.BigIntegerField()
    payer_id = models.BigIntegerField(db_default=0, help_text="The account that a call was charged to.")
    calls = models.BigIntegerField()
    charge = models.BigIntegerField()
    cost = models.BigIntegerField()
    markup = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cache_read_tokens = models.BigIntegerField()

    class Meta:
        abstract = True


class UsageHour(Usage):
    """What was folded."""

    pk = models.CompositePrimaryKey(
        *("project_id", "hour", "mode", "what", "relay_key_id", "user_id", "application_id", "model", "target_id"),
        "payer_id",
    )

    class Meta:
        db_table = "ledger_usagehour"
        default_permissions = ()

    def __str__(self) -> str:
        return f"project {self.project_id} at {self.hour}"


class UsageDelta(Usage):
    """What one statement added, until it is folded."""

    id = models.BigAutoField(primary_key=True)

    class Meta:
        db_table = "ledger_usagedelta"
        default_permissions = ()

    def __str__(self) -> str:
        return f"project {self.project_id} at {self.hour}"


class KeyUse(models.Model):
    """When a relay key was used last, to the day in UTC: of the hours that were folded. It outlives its key."""

    relay_key = models.OneToOneField(
        "access.RelayKey", models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="use"
    )
    last_on = models.DateField()

    class Meta:
        db_table = "ledger_keyuse"
        default_permissions = ()

    def __str__(self) -> str:
        return f"key {self.relay_key_id} on {self.last_on}"


class LowBalanceTold(models.Model):
    """A wallet that is low, of which its people were told by mail. The row goes when it is low no more."""

    account = models.OneToOneField(Account, models.DO_NOTHING, primary_key=True, related_name="+")
    told_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_lowtold"
        default_permissions = ()

    def __str__(self) -> str:
        return f"account {self.account_id}"
