"""Each account may have a secret that signs its webhooks, and the one before it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhook_secrets",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("previous", sa.LargeBinary),
        sa.Column("previous_until", sa.BigInteger),
        sa.PrimaryKeyConstraint("account", name="pk_webhook_secrets"),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name="fk_webhook_secrets_accounts"),
    )
