"""The triggers that the product rests on: there, and enabled.

They are part of migrations, so they go missing by hands alone: a restore without them, a bulk load that switched them
off and was cut short. `tests/admin/test_doctor.py` compares these names with what the migrations make.
"""

from collections.abc import Iterator

from relay_admin.access import audit_triggers
from relay_admin.doctor.finding import Finding, broken, ok, some_of
from relay_admin.doctor.postgres import Database
from relay_contract import channel, nouns

AUDITED = (
    "access_admintoken", "access_authorization", "access_externalidentity", "access_invitation", "access_membership",
    "access_oauthapplication", "access_relaykey", "access_revocation", "access_signingkey", "access_user",
    "access_user_groups", "access_user_user_permissions", "auth_group", "auth_group_permissions", "catalog_endpoint",
    "catalog_host", "catalog_hostbinding", "catalog_hostkey", "catalog_line", "catalog_linedraft",
    "catalog_linerevision", "catalog_model", "catalog_modelalias", "catalog_policy", "catalog_pricing",
    "catalog_project", "catalog_ratelimit", "catalog_target", "catalog_targetsecret", "deliveries_alertrule",
    "deliveries_replaybatch", "ledger_creditcode", "ledger_topup",
)  # fmt: skip
APPEND_ONLY = ("ledger_coderedemption", "ledger_entry", "ledger_invoice", "ledger_refund", "ledger_terms")

TRIGGERS = {
    "catalog": {
        *((noun.table, channel.ROW_TRIGGER) for noun in nouns.NOUNS),
        *((noun.table, channel.TRUNCATE_TRIGGER) for noun in nouns.NOUNS),
        ("catalog_target", "catalog_target_version"),
        ("catalog_targetsecret", "catalog_targetsecret_version"),
    },
    "audit": {
        *((table, audit_triggers.ROW_TRIGGER) for table in AUDITED),
        *((table, audit_triggers.TRUNCATE_TRIGGER) for table in AUDITED),
        ("access_auditevent", "access_audit_append_only"),
        ("access_auditevent", "access_audit_never_emptied"),
    },
    "append_only": {
        ("ledger_charge", "ledger_append_only"),
        *((table, "ledger_append_only") for table in APPEND_ONLY),
        *((table, "ledger_no_truncate") for table in APPEND_ONLY),
        ("catalog_priceversion", "catalog_priceversion_append_only"),
        ("catalog_pricing", "catalog_pricing_keep"),
        ("catalog_pricing", "catalog_pricing_version"),
    },
    "balances": {
        ("ledger_charge", "ledger_count_charges"),
        ("ledger_charge", "ledger_count_deliveries"),
        ("ledger_entry", "ledger_count_entries"),
        ("ledger_account", "ledger_open_purse"),
        ("ledger_account", "ledger_tell_purse"),
        ("traffic_call", "ledger_calls_due"),
        ("catalog_project", "ledger_keep_accounts"),
        ("catalog_project", "ledger_number_accounts"),
        ("catalog_project", "ledger_project_accounts"),
        ("catalog_project", "ledger_project_purses"),
        ("access_user", "ledger_keep_accounts"),
        ("access_user", "ledger_number_accounts"),
        ("access_user", "ledger_user_accounts"),
    },
    "people": {
        ("access_membership", "access_membership_keep_referrer"),
        ("access_relaykey", "access_relaykey_payer"),
        ("access_user", "access_user_end_bearers"),
        ("access_user", "access_user_end_sessions"),
        ("access_user", "access_user_end_tickets"),
        ("access_user", "access_user_end_tokens"),
        ("access_user", "access_user_forget_proof"),
        ("access_user", "access_user_stop_keys"),
    },
}
"""By what they are for: table and trigger."""

WITHOUT = {
    "catalog": "Edges and workers do not hear of changes there.",
    "audit": "Changes there leave no event.",
    "append_only": "What must never change can be changed.",
    "balances": "Balances and purses stop following the rows; run `python manage.py credits check`.",
    "people": "What ends with an account does not end.",
}

_STATES = """
SELECT tgrelid::regclass::text, tgname::text, tgenabled IN ('O', 'A')
FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN (
    SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
)
"""


def examine(database: Database) -> Iterator[Finding]:
    """A finding for each thing that triggers are for. A partition's own copies count with their table's."""
    states: dict[tuple[str, str], bool] = {}
    for table, name, is_enabled in database.execute(_STATES):
        states[table, name] = is_enabled
    for purpose, wanted in TRIGGERS.items():
        yield verdict(purpose, wanted, states)


def verdict(purpose: str, wanted: set[tuple[str, str]], states: dict[tuple[str, str], bool]) -> Finding:
    """`states`: whether each trigger that is there is enabled."""
    check = f"triggers.{purpose}"
    missing = sorted(f"{name} on {table}" for table, name in wanted if (table, name) not in states)
    names = {name for _table, name in wanted}
    disabled = sorted(
        f"{name} on {table}" for (table, name), is_enabled in states.items() if name in names and not is_enabled
    )
    if missing:
        return broken(
            check,
            f"missing: {some_of(missing)}",
            f"{WITHOUT[purpose]} Restore them from a back-up of the schema, or compare with an empty database that"
            " `manage.py migrate` made.",
        )
    if disabled:
        return broken(
            check, f"disabled: {some_of(disabled)}", f"{WITHOUT[purpose]} ALTER TABLE ... ENABLE TRIGGER USER."
        )
    return ok(check, f"{len(wanted)} are there and enabled")
