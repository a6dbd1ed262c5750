"""What providers say of the versions that predictions were created of, and that are not known here."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_versions",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("openapi_schema", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_provider_versions_version", "provider_versions", ["version"])
