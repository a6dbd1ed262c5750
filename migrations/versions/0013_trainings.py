"""Trainings beside predictions: which rows of the index are such, by the model that each was made for."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TRAINING = sa.text("destination IS NOT NULL")


def upgrade() -> None:
    op.add_column("predictions", sa.Column("destination", sa.Text))
    op.create_index(
        "ix_predictions_training",
        "predictions",
        ["account", "created_at", "id"],
        sqlite_where=TRAINING,
        postgresql_where=TRAINING,
    )
