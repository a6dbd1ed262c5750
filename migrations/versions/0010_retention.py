"""What predictions leave is kept for a time, and counted for each account."""

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_AT_ONCE = 1000


def upgrade() -> None:
    op.add_column("accounts", sa.Column("storage_at_most", sa.BigInteger))
    op.add_column("tokens", sa.Column("retention_s", sa.Float))
    op.add_column("files", sa.Column("bound", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("predictions", sa.Column("sweep_at", sa.BigInteger))
    op.add_column("predictions", sa.Column("file_bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "input_uses",
        sa.Column("key", sa.Text),
        sa.Column("prediction", sa.Text),
        sa.PrimaryKeyConstraint("key", "prediction", name="pk_input_uses"),
    )
    op.create_index("ix_input_uses_prediction", "input_uses", ["prediction"])
    op.create_table(
        "storage_use",
        sa.Column("account", sa.Text),
        sa.Column("outputs", sa.BigInteger, nullable=False),
        sa.Column("inputs", sa.BigInteger, nullable=False),
        sa.Column("uploads", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", name="pk_storage_use"),
    )
    _look_into_documents()
    _part("sweep_at", "sweep_at IS NOT NULL", "sweep_at")
    _part("file_bytes", "file_bytes > 0", "account", "file_bytes")
    op.execute(
        "INSERT INTO storage_use (account, outputs, inputs, uploads) "
        "SELECT account, SUM(outputs), 0, SUM(uploads) FROM ("
        "SELECT account, file_bytes AS outputs, 0 AS uploads FROM predictions WHERE file_bytes > 0 "
        "UNION ALL SELECT account, 0, size FROM files) AS kept GROUP BY account"
    )


def _part(name: str, rows: str, *columns: str) -> None:
    where = sa.text(rows)
    op.create_index(
        f"ix_predictions_{name}", "predictions", list(columns), sqlite_where=where, postgresql_where=where
    )


def _look_into_documents() -> None:
    """How long each prediction's files are, and which files those use that have not ended."""
    connection, last = op.get_bind(), ""
    page = sa.text("SELECT id, document FROM predictions WHERE id > :last ORDER BY id LIMIT :most")
    while rows := connection.execute(page, {"last": last, "most": _AT_ONCE}).all():
        last = rows[-1][0]
        for id, document in rows:
            known = msgspec.msgpack.decode(document)
            if length := sum(file["length"] for file in known.get("files", ())):
                connection.execute(
                    sa.text("UPDATE predictions SET file_bytes = :length WHERE id = :id"),
                    {"length": length, "id": id},
                )
            used = () if "completed_at" in known else known.get("input_files", {}).values()
            for key in set(used):
                connection.execute(
                    sa.text("INSERT INTO input_uses (key, prediction) VALUES (:key, :id)"),
                    {"key": key, "id": id},
                )
