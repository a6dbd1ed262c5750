"""The exceptions of the original package.

CogError
├── ConfigDoesNotExist
├── CogRuntimeError
└── PredictorNotSet
"""


class CogError(Exception):
    """Something is wrong with how a model is set up."""


class ConfigDoesNotExist(CogError):
    """There is no cog.yaml."""


class CogRuntimeError(CogError):
    """The runtime cannot go on."""


class PredictorNotSet(CogError):
    """cog.yaml names no predictor."""
