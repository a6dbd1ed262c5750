"""Every route of ``/v1/admin``. All need the scope ``admin``, over whatever account."""

from edge.routes.admin import accounts, audit, models, predictions, tokens, workers

HANDLERS = [
    *accounts.HANDLERS,
    *tokens.HANDLERS,
    *workers.HANDLERS,
    *models.HANDLERS,
    *predictions.HANDLERS,
    *audit.HANDLERS,
]
