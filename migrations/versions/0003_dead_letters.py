"""Predictions that their workers failed, rather than their model, can be found by why."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("predictions", sa.Column("dead", sa.Text))
    op.create_index(
        "ix_predictions_dead_completed_at",
        "predictions",
        ["completed_at"],
        sqlite_where=sa.text("dead IS NOT NULL"),
        postgresql_where=sa.text("dead IS NOT NULL"),
    )
