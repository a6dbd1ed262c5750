"""Where the first generation had ``BasePredictor``."""

from cog.predictor import BasePredictor
from cog.types import Weights

__all__ = ["BasePredictor", "Weights"]
