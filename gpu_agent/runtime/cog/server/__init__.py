"""Names that models import from the original server."""
