"""Shares and caps, what models set for their predictions, and the hardware that workers had."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("share", sa.Float, nullable=False, server_default="1"))
    op.add_column("tokens", sa.Column("share", sa.Float, nullable=False, server_default="1"))
    op.add_column("tokens", sa.Column("max_running", sa.Integer, nullable=False, server_default="0"))
    op.add_column("models", sa.Column("config", sa.Text, nullable=False, server_default="{}"))
    op.create_table(
        "capabilities",
        sa.Column("pool", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("gpu", sa.Text, nullable=False),
        sa.Column("memory", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("pool", "model", "gpu", "memory", name="pk_capabilities"),
    )
