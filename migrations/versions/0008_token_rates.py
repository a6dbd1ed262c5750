"""Tokens may have rate limits of their own; without them the server's hold."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tokens", sa.Column("creations_per_min", sa.Integer))
    op.add_column("tokens", sa.Column("requests_per_min", sa.Integer))
