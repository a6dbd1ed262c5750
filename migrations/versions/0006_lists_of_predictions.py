"""Each kind of list of predictions has an index that gives its rows in their order."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_predictions_uncommon", "predictions")
    op.create_index(
        "ix_predictions_account_model_created_at_id", "predictions", ["account", "model", "created_at", "id"]
    )
    unended = sa.text("completed_at IS NULL")
    missed = sa.text("status IN ('failed', 'canceled')")
    _part("unended", unended, "account", "created_at", "id")
    _part("unended_of_model", unended, "account", "model", "created_at", "id")
    _part("missed", missed, "account", "status", "created_at", "id")
    _part("missed_of_model", missed, "account", "model", "status", "created_at", "id")


def _part(name: str, rows: sa.TextClause, *columns: str) -> None:
    op.create_index(
        f"ix_predictions_{name}", "predictions", list(columns), sqlite_where=rows, postgresql_where=rows
    )
