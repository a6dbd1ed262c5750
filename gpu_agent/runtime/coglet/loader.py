"""Imports the model's code and finds its predictor."""

import importlib.util
import os
import sys
from typing import Any

from coglet.mistakes import LoadError

USUAL_NAMES = {"predict": ("Runner", "Predictor"), "train": ("train",)}
"""What is looked for in a file that is named without a class or function."""


def load(reference: str, mode: str = "predict") -> Any:
    """The class or function that ``predict.py:Predictor`` names, from the current directory.

    Raises ``LoadError`` when it is not there; what the model's own code raises passes through.
    """
    file, _, name = reference.partition(":")
    if not file.endswith(".py") or reference.endswith(":"):
        raise LoadError(f"predictor {reference!r} is not of the form predict.py:Predictor")
    module = _import(file)
    names = (name,) if name else USUAL_NAMES[mode]
    target = next((getattr(module, each) for each in names if hasattr(module, each)), None)
    if target is None:
        found = [
            known
            for known, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__ and callable(value)
        ]
        there = f"; it has {', '.join(found)}" if found else ""
        raise LoadError(f"{file} has no {' or '.join(names)}{there}") from None
    if not callable(target):
        raise LoadError(f"{name} in {file} is neither a class nor a function")
    return target


def _import(file: str) -> Any:
    path = os.path.abspath(file)
    if not os.path.isfile(path):
        raise LoadError(f"there is no {file} in {os.getcwd()}")
    name = os.path.basename(file)[:-3]
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == path:
        return loaded  # the training code may be in the predictor's file
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise LoadError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module
