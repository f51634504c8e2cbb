from django.db import migrations

_COLUMNS = """hour, project_id, mode, what, relay_key_id, user_id, application_id, model, target_id, calls, charge, cost,
        markup, input_tokens, output_tokens, cache_read_tokens"""
_SETTLED = """
    SELECT date_trunc('hour', at, 'UTC'), project_id, key_mode, 'delivery', 0, 0, 0, '', target_id, count(*),
        sum(micro_credits), sum(micro_credits), 0, 0, 0, 0
    FROM added WHERE kind = 'settle' GROUP BY 1, 2, 3, target_id"""
_ACCEPTED = """
    SELECT date_trunc('hour', at, 'UTC'), hold.project_id, key_mode, 'accepted', coalesce(relay_key_id, 0),
        coalesce(key.user_id, 0), 0, '', 0, count(*), sum(micro_credits), sum(micro_credits), 0, 0, 0, 0
    FROM {source} AS hold LEFT JOIN access_relaykey AS key ON key.id = hold.relay_key_id
    WHERE kind = 'hold' AND replay = 0 AND micro_credits > 0 GROUP BY 1, 2, 3, 5, 6"""
_FUNCTION = """
CREATE OR REPLACE FUNCTION ledger_count_deliveries() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO ledger_usagedelta ({columns}){select};
    RETURN NULL;
END $$;
"""

# Whoever writes charges waits till the end, so each hold is counted by the trigger or from here, and not by both. Hours
# of before the month and week that go on are of no budget any more.
ADD = f"""
LOCK TABLE ledger_charge IN SHARE ROW EXCLUSIVE MODE;
{_FUNCTION.format(columns=_COLUMNS, select=f"{_SETTLED}{chr(10)}    UNION ALL{_ACCEPTED.format(source='added')}")}
INSERT INTO ledger_usagedelta ({_COLUMNS})
SELECT * FROM ({_ACCEPTED.format(source="ledger_charge")}) AS accepted (hour)
WHERE hour >= least(date_trunc('month', now(), 'UTC'), date_trunc('week', now(), 'UTC'));
"""  # noqa: S608 (constants)
UNDO = f"""
{_FUNCTION.format(columns=_COLUMNS, select=_SETTLED)}
DELETE FROM ledger_usagedelta WHERE what = 'accepted';
DELETE FROM ledger_usagehour WHERE what = 'accepted';
"""  # noqa: S608 (constants)


class Migration(migrations.Migration):
    """Hours say what deliveries cost when they were accepted, by key and its user: what budgets count of them."""

    dependencies = [("ledger", "0010_drift_rows")]

    operations = [migrations.RunSQL(ADD, UNDO)]
