"""A model from its reference to what can be set up and called."""

import os
import sys
from typing import Any, Callable, Dict, Optional

from coglet.loader import load
from coglet.mistakes import LoadError, Refused
from coglet.options import Options
from coglet.schema import openapi
from coglet.signature import Signature, read_signature
from coglet.weights import find_weights


class Model:
    """A predictor that was loaded: its signature, its document, its functions."""

    def __init__(self, options: Options) -> None:
        """Import it. Raises ``LoadError``, or what its own code raises."""
        sys.path.insert(0, os.getcwd())
        target = load(options.predictor, options.mode)
        self.signature = read_signature(target, options.mode)
        self.concurrency = _concurrency(options, self.signature)
        self._target = target
        self._instance: Any = None
        self._training = _training(options) if options.mode == "predict" else None
        self.notices = self.signature.notices
        self.training_mode = options.mode == "train"

    def document(self) -> Dict[str, Any]:
        """Its OpenAPI document."""
        if self.training_mode:
            return openapi(None, self.signature)
        return openapi(self.signature, self._training)

    def set_up(self) -> Any:
        """Make the predictor and call its ``setup``, if it has one. Returns what is to be awaited if that is
        async."""
        if not isinstance(self._target, type):
            return None
        self._instance = self._target()
        setup = self.signature.setup
        if setup is None:
            return None
        weights = {} if setup.weights is None else {"weights": find_weights(setup.weights)}
        made = self._instance.setup(**weights)
        return made if setup.is_async else None

    @property
    def predict(self) -> Callable[..., Any]:
        """What is called for each request, once the predictor is made."""
        if self._instance is None:
            return self._target  # type: ignore[no-any-return]
        return getattr(self._instance, self.signature.method)  # type: ignore[no-any-return]

    @property
    def healthcheck(self) -> Optional[Callable[[], Any]]:
        """The author's own check, if there is one."""
        found = getattr(self._instance, "healthcheck", None)
        return found if callable(found) else None

    def test_inputs(self) -> Dict[str, Any]:
        """An input that the author gives as an example; empty when there is none."""
        found = getattr(self._target, "test_inputs", None)
        if isinstance(found, (staticmethod, classmethod)) or callable(found):
            found = self._instance.test_inputs()
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise LoadError(
                f"test_inputs is {type(found).__name__}, not a dict or a function that returns one"
            )
        return found


def may_be_concurrent(options: Options) -> bool:
    """Whether there may be several predictions at a time, before the model is imported: what it takes for its
    standard streams then is what it goes on using."""
    if options.max_concurrency:
        return options.max_concurrency > 1
    try:
        with open(options.predictor.partition(":")[0], "rb") as file:
            return b"concurrent(" in file.read()
    except OSError:
        return False


def _concurrency(options: Options, signature: Signature) -> int:
    most = options.max_concurrency or signature.concurrency or 1
    if most > 1 and not signature.is_async:
        raise LoadError(
            f"a concurrency of more than 1 needs an async {signature.method}(),"
            f" as `async def {signature.method}`"
        )
    return most


def _training(options: Options) -> Optional[Signature]:
    if not options.train:
        return None
    try:
        return read_signature(load(options.train, "train"), "train")
    except Refused:
        raise
    except LoadError as error:
        # Its predictions can be served all the same.
        sys.stderr.write(f"{options.train}: no training: {error}\n")
        return None
