"""Models say what they are before a worker has them; deployments; what did not succeed is found quickly."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("models", sa.Column("description", sa.Text, nullable=False, server_default=""))
    op.add_column("models", sa.Column("readme", sa.Text, nullable=False, server_default=""))
    op.add_column("models", sa.Column("links", sa.Text, nullable=False, server_default="{}"))
    op.create_table(
        "deployments",
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.name"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("released_at", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("gpu", sa.Text, nullable=False),
        sa.Column("min_instances", sa.Integer, nullable=False),
        sa.Column("max_instances", sa.Integer, nullable=False),
    )
    op.create_index("ix_deployments_model_version", "deployments", ["model", "version"])
    uncommon = sa.text("status <> 'succeeded'")
    op.create_index(
        "ix_predictions_uncommon",
        "predictions",
        ["account", "created_at", "id"],
        sqlite_where=uncommon,
        postgresql_where=uncommon,
    )
