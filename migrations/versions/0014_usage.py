"""What predictions came to by day, and what a token or an account may have of it in a day."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

KEY = ("account", "token", "end_user", "model")
COUNTS = ("created", "succeeded", "failed", "canceled", "output_bytes", "overflowed")
SUMS = ("run_s", "spend", "overflow_spend")


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("day", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, primary_key=True) for name in KEY),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTS),
        *(sa.Column(name, sa.Float, nullable=False) for name in SUMS),
        sqlite_with_rowid=False,
    )
    for table in ("tokens", "accounts"):
        op.add_column(table, sa.Column("daily_predictions", sa.BigInteger))
        op.add_column(table, sa.Column("daily_run_s", sa.Float))
        op.add_column(table, sa.Column("daily_budget", sa.Float))
    op.add_column("tokens", sa.Column("overflow_per_day", sa.BigInteger))
    op.add_column("tokens", sa.Column("overflow_cost_per_day", sa.Float))
