"""What alembic runs for each command: over the connection that the caller holds."""

from alembic import context

from backend.web.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # the caller's transaction holds all of it, on SQLite too
    version_table="schema_version",
)
context.run_migrations()
