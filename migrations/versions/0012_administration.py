"""What administrators did; tokens that are rotated, used, or made by others; queues that stand still."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("door", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("token", sa.Text),
        sa.Column("account", sa.Text),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sqlite_autoincrement=True,
    )
    op.add_column("tokens", sa.Column("generation", sa.Integer, nullable=False, server_default="1"))
    op.add_column("tokens", sa.Column("previous_hash", sa.LargeBinary))
    op.add_column("tokens", sa.Column("previous_until", sa.BigInteger))
    op.add_column("tokens", sa.Column("last_used_at", sa.BigInteger))
    op.add_column("tokens", sa.Column("parent", sa.Text))
    _part("tokens", "previous_hash", "previous_hash")
    _part("tokens", "parent", "parent")
    op.add_column("objects", sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("predictions", sa.Column("key", sa.Text))
    _part("predictions", "key", "key", "created_at", "id")


def _part(table: str, name: str, *columns: str) -> None:
    rows = sa.text(f"{columns[0]} IS NOT NULL")
    op.create_index(f"ix_{table}_{name}", table, list(columns), sqlite_where=rows, postgresql_where=rows)
