"""The base class of predictors."""

from typing import Any


class BasePredictor:
    """A model: ``setup`` runs once, ``predict`` once for each prediction.

    ``predict`` is not declared here, so that each predictor is free in its parameters. Both methods may be
    ``async def``; ``predict`` may also yield.
    """

    def setup(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights and whatever else outlives a prediction. The default does nothing."""
