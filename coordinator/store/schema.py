"""The tables of the control store. ``migrations/`` builds them; a test proves that both say the same.

Times are integer microseconds since the epoch. Lists and maps are JSON text: nothing searches inside them.
``objects`` has no account because tenants share a model's queue; what is queued carries its account itself.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _some(table: str, name: str, rows: TextClause, *columns: str) -> Index:
    """An index of some of a table's rows."""
    return Index(f"ix_{table}_{name}", *columns, sqlite_where=rows, postgresql_where=rows)


def _part(name: str, rows: TextClause, *columns: str) -> Index:
    return _some("predictions", name, rows, *columns)


meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("share", Float, nullable=False, server_default="1"),
    Column("storage_at_most", BigInteger),
    Column("daily_predictions", BigInteger),
    Column("daily_run_s", Float),
    Column("daily_budget", Float),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Text, ForeignKey("accounts.name"), nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("pools", Text, nullable=False),
    Column("models", Text, nullable=False),
    Column("worker", Text),
    Column("replicate", LargeBinary),
    Column("allow", Boolean, nullable=False),
    Column("api", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("share", Float, nullable=False, server_default="1"),
    Column("max_running", Integer, nullable=False, server_default="0"),
    Column("creations_per_min", Integer),
    Column("requests_per_min", Integer),
    Column("retention_s", Float),
    # Which secret this is, counted from 1; the one before is good until then, too.
    Column("generation", Integer, nullable=False, server_default="1"),
    Column("previous_hash", LargeBinary),
    Column("previous_until", BigInteger),
    Column("last_used_at", BigInteger),
    # The token that made it for a user of its own.
    Column("parent", Text),
    Column("daily_predictions", BigInteger),
    Column("daily_run_s", Float),
    Column("daily_budget", Float),
    Column("overflow_per_day", BigInteger),
    Column("overflow_cost_per_day", Float),
    UniqueConstraint("hash"),
    # A revoked token gives its name back.
    Index(
        "uq_tokens_live_name",
        "account",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
    _some("tokens", "previous_hash", text("previous_hash IS NOT NULL"), "previous_hash"),
    _some("tokens", "parent", text("parent IS NOT NULL"), "parent"),
)

# Rows are added, and their outcome once; nothing takes any away.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("door", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("token", Text),
    Column("account", Text),
    Column("act", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("outcome", Text),
    sqlite_autoincrement=True,
)

webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("account", Text, ForeignKey("accounts.name"), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("previous", LargeBinary),
    Column("previous_until", BigInteger),
)

objects = Table(
    "objects",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("pool", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("alarm_at", BigInteger),
    Column("paused", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("pool", "model"),
    Index("ix_objects_active", "active"),
    Index("ix_objects_alarm_at", "alarm_at"),
    # A number is inside every prediction id: it must never be given out twice.
    sqlite_autoincrement=True,
)

models = Table(
    "models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("account", Text, ForeignKey("accounts.name"), nullable=False),
    Column("visibility", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("latest_at", BigInteger, nullable=False),
    Column("run_count", BigInteger, nullable=False),
    Column("config", Text, nullable=False, server_default="{}"),
    Column("description", Text, nullable=False, server_default=""),
    Column("readme", Text, nullable=False, server_default=""),
    Column("links", Text, nullable=False, server_default="{}"),
    Index("ix_models_latest_at_name", "latest_at", "name"),
)

versions = Table(
    "versions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, ForeignKey("models.name"), primary_key=True),
    Column("account", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("cog_version", Text, nullable=False),
    Column("openapi_schema", LargeBinary, nullable=False),
    Index("ix_versions_model_created_at_id", "model", "created_at", "id"),
)

registrations = Table(
    "registrations",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("pool", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
    ForeignKeyConstraint(["version", "model"], ["versions.id", "versions.model"]),
)

capabilities = Table(
    "capabilities",
    metadata,
    Column("pool", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("gpu", Text, primary_key=True),
    Column("memory", BigInteger, primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
)

# A new release is a change of the row: nobody asks for older ones.
deployments = Table(
    "deployments",
    metadata,
    Column("account", Text, ForeignKey("accounts.name"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("released_at", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("gpu", Text, nullable=False),
    Column("min_instances", Integer, nullable=False),
    Column("max_instances", Integer, nullable=False),
    Index("ix_deployments_model_version", "model", "version"),
)

# No foreign key: a name is reserved for a token, and a token has an account.
aliases = Table(
    "aliases",
    metadata,
    Column("account", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("ids", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Index("ix_aliases_expires_at", "expires_at"),
)

UNENDED = text("completed_at IS NULL")
MISSED = text("status IN ('failed', 'canceled')")
"""Which rows the indexes of what has not succeeded have; a query must say it in the same words."""

SWEPT = text("sweep_at IS NOT NULL")
HAS_FILES = text("file_bytes > 0")
TRAINING = text("destination IS NOT NULL")


predictions = Table(
    "predictions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("completed_at", BigInteger),
    Column("sequence", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    # The error code of one that failed by no fault of its model: it may be tried again by hand.
    Column("dead", Text),
    # The model that a training was made for; of a prediction there is none.
    Column("destination", Text),
    # When the sweep has something to do for it (``coordinator/keeping.py``), and the length of its files.
    Column("sweep_at", BigInteger),
    Column("file_bytes", BigInteger, nullable=False, server_default="0"),
    # Which key of a user it was made with, if one that an account's own token has made.
    Column("key", Text),
    Index("ix_predictions_account_created_at_id", "account", "created_at", "id"),
    Index("ix_predictions_account_model_created_at_id", "account", "model", "created_at", "id"),
    # Most have succeeded: whoever looks for others does not want to read all of them.
    _part("unended", UNENDED, "account", "created_at", "id"),
    _part("unended_of_model", UNENDED, "account", "model", "created_at", "id"),
    _part("missed", MISSED, "account", "status", "created_at", "id"),
    _part("missed_of_model", MISSED, "account", "model", "status", "created_at", "id"),
    _part("dead_completed_at", text("dead IS NOT NULL"), "completed_at"),
    _part("training", TRAINING, "account", "created_at", "id"),
    _part("sweep_at", SWEPT, "sweep_at"),
    _part("file_bytes", HAS_FILES, "account", "file_bytes"),
    _part("key", text("key IS NOT NULL"), "key", "created_at", "id"),
)

# Which stored files predictions have in their inputs: a row until the data of that prediction is removed.
input_uses = Table(
    "input_uses",
    metadata,
    Column("key", Text, primary_key=True),
    Column("prediction", Text, primary_key=True),
    Index("ix_input_uses_prediction", "prediction"),
)

# Bytes of each account's files: outputs, what stood in inputs, and uploads. Written with the rows of those.
storage_use = Table(
    "storage_use",
    metadata,
    Column("account", Text, primary_key=True),
    Column("outputs", BigInteger, nullable=False),
    Column("inputs", BigInteger, nullable=False),
    Column("uploads", BigInteger, nullable=False),
)

files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("md5", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    # It goes with the last prediction that uses it: it stood in an input, or its own time is over.
    Column("bound", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("key"),
    Index("ix_files_account_created_at_id", "account", "created_at", "id"),
    Index("ix_files_expires_at", "expires_at"),
)

overflow_days = Table(
    "overflow_days",
    metadata,
    Column("token", Text, primary_key=True),
    Column("day", BigInteger, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("cost", Float, nullable=False),
)

# No foreign key: a model that only a provider has is no model of ours, and its name stays free here.
provider_versions = Table(
    "provider_versions",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("openapi_schema", LargeBinary, nullable=False),
    Index("ix_provider_versions_version", "version"),
)

# What predictions came to, by day (days since the epoch, UTC): ``created`` by that of their creation, all
# else by that of their end. Written with the rows of ``predictions`` (``usage.py``).
usage = Table(
    "usage",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("account", Text, primary_key=True),
    Column("token", Text, primary_key=True),
    Column("end_user", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("succeeded", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("canceled", BigInteger, nullable=False),
    Column("run_s", Float, nullable=False),
    Column("output_bytes", BigInteger, nullable=False),
    Column("spend", Float, nullable=False),
    Column("overflowed", BigInteger, nullable=False),
    Column("overflow_spend", Float, nullable=False),
    # One tree instead of two, for every row is found by its whole key.
    sqlite_with_rowid=False,
)
