"""Every route of ``/v1/admin``. All need the scope ``admin``, over whatever account."""

from edge.routes.admin import accounts, audit, tokens

HANDLERS = [*accounts.HANDLERS, *tokens.HANDLERS, *audit.HANDLERS]
