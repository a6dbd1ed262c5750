"""Runs the migrations on the connection that ``coordinator.store.migration`` hands in."""

from alembic import context

from coordinator.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
