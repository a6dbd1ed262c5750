"""Imports the model's code and finds its predictor."""

import importlib.util
import os
import sys
from typing import Any

from coglet.mistakes import LoadError


def load(reference: str) -> Any:
    """The class or function that ``predict.py:Predictor`` names, from the current directory.

    Raises ``LoadError`` when it is not there; what the model's own code raises passes through.
    """
    file, colon, name = reference.partition(":")
    if not colon or not name or not file.endswith(".py"):
        raise LoadError(f"predictor {reference!r} is not of the form predict.py:Predictor")
    path = os.path.abspath(file)
    if not os.path.isfile(path):
        raise LoadError(f"there is no {file} in {os.getcwd()}")
    module_name = os.path.basename(file)[:-3]
    specification = importlib.util.spec_from_file_location(module_name, path)
    if specification is None or specification.loader is None:
        raise LoadError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(specification)
    sys.modules[module_name] = module
    specification.loader.exec_module(module)
    try:
        target = getattr(module, name)
    except AttributeError:
        found = [
            known for known, value in vars(module).items() if getattr(value, "__module__", "") == module_name
        ]
        there = f"; it has {', '.join(found)}" if found else ""
        raise LoadError(f"{file} has no {name}{there}") from None
    if not callable(target):
        raise LoadError(f"{name} in {file} is neither a class nor a function")
    return target
