"""Reads what a predictor takes and gives, and how it is called; or all that is wrong with it."""

import os
import sys
import types
from typing import Any, Dict, List, NamedTuple, Optional

from cog.fields import MISSING, FieldInfo
from cog.predictor import BasePredictor

from coglet import annotations
from coglet.fields import FieldJudge
from coglet.inputs import Field
from coglet.mistakes import Mistake, Refused, Source
from coglet.outputs import BadAnnotation, Output, read_output
from coglet.parameters import ASYNC_GENERATOR, COROUTINE, GENERATOR, Parameters, mark_of, unwrap


class Setup(NamedTuple):
    """How a predictor is set up."""

    is_async: bool
    weights: Optional[str]
    """How it wants its weights: "path", "file", "str", or None for a setup without the parameter."""


class Signature:
    """What a model takes and gives, and how it is called."""

    def __init__(
        self,
        method: str,
        fields: List[Field],
        output: Output,
        *,
        is_async: bool,
        setup: Optional[Setup],
        concurrency: Optional[int],
        streaming: bool,
        takes_anything: bool,
        notices: List[str],
    ) -> None:
        self.method = method
        """``predict``, ``run`` or ``train``; of a function its own name."""
        self.fields = fields
        self.output = output
        self.is_async = is_async
        self.setup = setup
        self.concurrency = concurrency
        """What ``@concurrent(max=N)`` says."""
        self.streaming = streaming
        self.takes_anything = takes_anything
        """Its one parameter is ``**kwargs``."""
        self.notices = notices
        self.holds_secrets = any(field.shape.holds_secrets() for field in fields)

    def input_schema(self, title: str = "Input") -> Dict[str, Any]:
        """The schema of the input object."""
        properties = {field.name: field.schema(order) for order, field in enumerate(self.fields)}
        found: Dict[str, Any] = {"type": "object", "title": title, "properties": properties}
        required = [field.name for field in self.fields if field.required]
        if required:
            found["required"] = required
        if self.takes_anything:
            found["additionalProperties"] = True
        return found


def read_signature(target: Any, mode: str = "predict") -> Signature:
    """Read a predictor class, or a function. ``mode`` is ``predict`` or ``train``.

    Raises ``Refused`` with every mistake.
    """
    mistakes: List[Mistake] = []
    if not isinstance(target, type):
        function = unwrap(target)
        name = function.__name__ if isinstance(function, types.FunctionType) else mode
        return _read(name, target, None, None, mistakes)
    name = _method_name(target, mode)
    setup = _read_setup(_method(target, "setup"), target, mistakes)
    return _read(name, _method(target, name), setup, target, mistakes)


def _method(cls: Any, name: str) -> Any:
    for base in cls.__mro__:
        # A base class's own setup is a default that says nothing.
        if name in vars(base) and base.__module__ != "cog.predictor":
            return vars(base)[name]
    return None


def _method_name(cls: Any, mode: str) -> str:
    """Which of its methods is run. Raises ``Refused`` when there is none, or more than one."""
    names = ("train",) if mode == "train" else ("predict", "run")
    found = [name for name in names if _method(cls, name) is not None]
    if len(found) > 1:
        # What a class has only from a mixin behind cog's base class is nothing that it means to be run.
        found = [name for name in found if _is_before_base(cls, name)] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise Refused([_at_class(cls, f"class {cls.__name__} has no {'() or '.join(names)}()")])
    if issubclass(cls, BasePredictor):
        return "predict"  # before run() was a name to be run, it was one as good as any for a helper
    raise Refused([_at_class(cls, f"class {cls.__name__} has both predict() and run(): keep one of them")])


def _is_before_base(cls: Any, name: str) -> bool:
    owners = (base for base in cls.__mro__ if name in vars(base) or base.__module__ == "cog.predictor")
    return bool(next(owners).__module__ != "cog.predictor")


def _at_class(target: Any, text: str) -> Mistake:
    module = sys.modules.get(getattr(target, "__module__", "") or "")
    return Mistake(getattr(module, "__file__", None) or "predictor", 0, text)


def _read(method: str, function: Any, setup: Optional[Setup], cls: Any, mistakes: List[Mistake]) -> Signature:
    inner = unwrap(function)
    if not isinstance(inner, types.FunctionType):
        raise Refused([_at_class(cls or function, f"{method} is not a function"), *mistakes])
    source = Source(inner.__code__)
    is_method = cls is not None and not isinstance(function, staticmethod)
    parameters = Parameters(inner, is_method)
    _check_form(method, parameters, source, mistakes)
    notices: List[str] = []
    names = annotations.names_for(inner, cls)
    fields = _read_fields(inner, names, parameters, source, mistakes, notices)
    flags = inner.__code__.co_flags | getattr(getattr(function, "__code__", None), "co_flags", 0)
    output = _read_return(method, inner, names, flags, source, mistakes)
    is_async = bool(flags & (COROUTINE | ASYNC_GENERATOR))
    if setup is not None and setup.is_async and not is_async:
        mistakes.append(source.mistake(f"an async setup() needs an async {method}()"))
    if mistakes or output is None:
        raise Refused(mistakes)
    return Signature(
        method,
        fields,
        output,
        is_async=is_async,
        setup=setup,
        concurrency=mark_of(function, "__cog_concurrency__"),
        streaming=bool(mark_of(function, "__cog_streaming__")),
        takes_anything=parameters.double_star is not None,
        notices=notices,
    )


def _check_form(method: str, parameters: Parameters, source: Source, mistakes: List[Mistake]) -> None:
    if not parameters.has_self:
        mistakes.append(source.mistake(f"{method}() must have 'self' as its first argument"))
    if parameters.star is not None:
        mistakes.append(source.mistake(f"{method}() must not have *{parameters.star}", parameters.star))
    name = parameters.double_star
    if name is not None and (parameters.named or parameters.star):
        text = f"{method}() must not have **{name}, unless that is all it has"
        mistakes.append(source.mistake(text, name))
    for name in parameters.positional_only:
        mistakes.append(source.mistake(f"input {name} must not be positional-only", name))


def _read_fields(
    function: Any,
    names: Dict[str, Any],
    parameters: Parameters,
    source: Source,
    mistakes: List[Mistake],
    notices: List[str],
) -> List[Field]:
    fields = []
    hints = annotations.of_function(function)
    for name, default in parameters.named:
        judge = FieldJudge(name, hints.get(name, MISSING), default, names)
        mistakes += [source.mistake(problem, name) for problem in judge.problems]
        notices += judge.notices
        if judge.field is not None:
            fields.append(judge.field)
    return fields


def _read_return(
    method: str, function: Any, names: Dict[str, Any], flags: int, source: Source, mistakes: List[Mistake]
) -> Optional[Output]:
    hints = annotations.of_function(function)
    if "return" not in hints:
        mistakes.append(source.mistake(f"missing return type annotation of {method}(), as in `-> str`"))
        return None
    try:
        output = read_output(hints["return"], names, method)
    except (BadAnnotation, annotations.Unresolvable) as error:
        mistakes.append(source.mistake(str(error), returns=True))
        return None
    if flags & (GENERATOR | ASYNC_GENERATOR) and not output.streams:
        text = f"{method}() yields, so its return type must be an Iterator"
        mistakes.append(source.mistake(text, returns=True))
    return output


def _read_setup(setup: Any, cls: Any, mistakes: List[Mistake]) -> Optional[Setup]:
    if setup is None:
        return None
    function = unwrap(setup)
    if not isinstance(function, types.FunctionType):
        mistakes.append(_at_class(cls, "setup is not a function"))
        return None
    source = Source(function.__code__)
    parameters = Parameters(function, not isinstance(setup, staticmethod))
    if not parameters.has_self:
        mistakes.append(source.mistake("setup() must have 'self' as its first argument"))
    for star, name in (("*", parameters.star), ("**", parameters.double_star)):
        if name is not None:
            mistakes.append(source.mistake(f"setup() must not have {star}{name}", name))
    unexpected = [
        name
        for name, default in parameters.named
        if name != "weights" and (default is MISSING or isinstance(default, FieldInfo))
    ]
    if unexpected:
        text = f"unexpected setup() arguments: {', '.join(unexpected)}"
        mistakes.append(source.mistake(text, unexpected[0]))
    hints = annotations.of_function(function)
    if hints.get("return") not in (None, annotations.NONE, "None", Any, "Any"):
        mistakes.append(source.mistake("setup() must return None", returns=True))
    takes_weights = any(name == "weights" for name, _ in parameters.named)
    weights = _read_weights(function, hints, source, mistakes) if takes_weights else None
    return Setup(bool(function.__code__.co_flags & COROUTINE), weights)


def _read_weights(function: Any, hints: Dict[str, Any], source: Source, mistakes: List[Mistake]) -> str:
    try:
        annotation = annotations.evaluate(hints.get("weights", str), function.__globals__)
    except annotations.Unresolvable as error:
        mistakes.append(source.mistake(f"weights of setup(): {error}", "weights"))
        return "str"
    annotation, _ = annotations.take_optional(annotation)
    if annotation is str:
        return "str"
    if annotations.is_union(annotation):
        return "path"
    if isinstance(annotation, type) and issubclass(annotation, os.PathLike):
        return "path"
    if getattr(annotation, "__module__", "") == "cog.types" and annotation.__name__ == "File":
        return "file"
    described = annotations.describe(annotation)
    mistakes.append(source.mistake(f"weights of setup() must be a Path or str, not {described}", "weights"))
    return "str"
