"""The base classes of predictors."""

from typing import Any

from cog.scope import Scope, current_scope


class BaseRunner:
    """A model: ``setup`` runs once, ``run`` once for each prediction.

    ``run`` is not declared here, so that each model is free in its parameters. Both methods may be
    ``async def``; ``run`` may also yield. ``train`` and ``healthcheck`` are optional.
    """

    def setup(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights and whatever else outlives a prediction. The default does nothing."""

    @property
    def scope(self) -> Scope:
        """The prediction that is running here, as ``current_scope()``."""
        return current_scope()

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """As ``current_scope().record_metric``."""
        current_scope().record_metric(key, value, mode)


class BasePredictor(BaseRunner):
    """The same with ``predict`` as the name of the method that is run for each prediction."""
