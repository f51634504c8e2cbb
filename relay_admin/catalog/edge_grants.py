"""What the edge's database role may do, as `manage.py edge_role` grants it and `manage.py doctor` compares it."""

from collections.abc import Iterator

from relay_contract import intake, nouns, traffic

SELECT, INSERT = "SELECT", "INSERT"

INSERTED = {
    **{row.table: intake.columns(row) for row in intake.INTAKE_ROWS},
    intake.CHARGE_TABLE: intake.CHARGE_COLUMNS,
    **{row.table: traffic.columns(row) for row in traffic.TRAFFIC_ROWS},
}
"""Table -> the columns that the edge fills."""
STORED_ANSWERS = {
    "deliveries_idempotency": ("endpoint_id", "key", "request_id", "body_hash", "created_at", "expires_at"),
    "deliveries_answer": ("delivery_id", "request_id", "status", "headers", "body", "is_cut", "at"),
    "deliveries_request": ("id", "status", "received_at"),
    "deliveries_live": ("request_id", "mode"),
    "deliveries_requestend": ("id", "delivery_id", "status", "error", "is_stream"),
}
"""What it reads of traffic: the answers that a caller with the same key gets again."""


def grants() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Verb, table and columns of everything that the role may do, and nothing else."""
    for noun in nouns.NOUNS:
        yield SELECT, noun.table, nouns.columns(noun)
    for table, columns in INSERTED.items():
        yield INSERT, table, columns
    for table, columns in STORED_ANSWERS.items():
        yield SELECT, table, columns
