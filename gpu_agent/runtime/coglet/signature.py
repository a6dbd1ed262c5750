"""Reads a predictor's ``predict`` and ``setup``: inputs, output, kind; or all that is wrong with them."""

import os
import types
from typing import Any, Dict, List, Optional, Tuple

from cog.fields import MISSING, FieldInfo

from coglet import annotations
from coglet.fields import FieldJudge
from coglet.inputs import Field
from coglet.mistakes import Mistake, Refused, Source
from coglet.outputs import BadAnnotation, Output, read_output

_VARARGS, _VARKEYWORDS, _GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x04, 0x08, 0x20, 0x80, 0x200


class Signature:
    """What a model takes and gives, and how it is called."""

    def __init__(
        self,
        fields: List[Field],
        output: Output,
        *,
        is_async: bool,
        setup_is_async: bool,
        weights: Optional[str],
        notices: List[str],
    ) -> None:
        self.fields = fields
        self.output = output
        self.is_async = is_async
        self.setup_is_async = setup_is_async
        self.weights = weights
        """How ``setup`` wants its weights: "path", "str", or None for a setup without the parameter."""
        self.notices = notices


def read_signature(target: Any) -> Signature:
    """Read a predictor class or a predict function. Raises ``Refused`` with every mistake."""
    if isinstance(target, type):
        return _read(_method(target, "predict"), _method(target, "setup"), target)
    return _read(target, None, None)


def _method(cls: Any, name: str) -> Any:
    for base in cls.__mro__:
        # A base class's own setup is a default that says nothing.
        if name in vars(base) and base.__module__ != "cog.predictor":
            return vars(base)[name]
    return None


def _unwrap(function: Any) -> Any:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def _read(predict: Any, setup: Any, cls: Any) -> Signature:
    if predict is None:
        raise Refused([_at_class(cls, f"class {cls.__name__} has no predict()")])
    inner = _unwrap(predict)
    if not isinstance(inner, types.FunctionType):
        raise Refused([_at_class(cls or predict, "predict is not a function")])
    source = Source(inner.__code__)
    mistakes: List[Mistake] = []
    notices: List[str] = []
    flags = inner.__code__.co_flags | getattr(getattr(predict, "__code__", None), "co_flags", 0)
    fields = _read_fields(inner, cls is not None, source, mistakes, notices)
    output = _read_return(inner, flags, source, mistakes)
    is_async = bool(flags & (_COROUTINE | _ASYNC_GENERATOR))
    weights, setup_is_async = _read_setup(setup, cls, is_async, mistakes)
    if mistakes or output is None:
        raise Refused(mistakes)
    return Signature(
        fields, output, is_async=is_async, setup_is_async=setup_is_async, weights=weights, notices=notices
    )


def _at_class(target: Any, text: str) -> Mistake:
    import sys

    module = sys.modules.get(getattr(target, "__module__", "") or "")
    return Mistake(getattr(module, "__file__", None) or "predictor", 0, text)


class _Parameters:
    """The parameters of a function, without the cost of ``inspect``."""

    def __init__(self, function: Any, is_method: bool) -> None:
        code = function.__code__
        positional = list(code.co_varnames[: code.co_argcount])
        end = code.co_argcount + code.co_kwonlyargcount
        keyword_only = list(code.co_varnames[code.co_argcount : end])
        defaults = dict(zip(reversed(positional), reversed(function.__defaults__ or ())))
        defaults.update(function.__kwdefaults__ or {})
        self.has_self = not is_method or bool(positional)
        skipped = 1 if is_method and positional else 0
        self.positional_only = positional[skipped : code.co_posonlyargcount]
        self.named = [(name, defaults.get(name, MISSING)) for name in positional[skipped:] + keyword_only]
        variadic = list(code.co_varnames[end:])
        self.star = variadic.pop(0) if code.co_flags & _VARARGS else None
        self.double_star = variadic.pop(0) if code.co_flags & _VARKEYWORDS else None


def _read_fields(
    function: Any, is_method: bool, source: Source, mistakes: List[Mistake], notices: List[str]
) -> List[Field]:
    parameters = _Parameters(function, is_method)
    if not parameters.has_self:
        mistakes.append(source.mistake("predict() must have 'self' as its first argument"))
    for star, name in (("*", parameters.star), ("**", parameters.double_star)):
        if name is not None:
            mistakes.append(source.mistake(f"predict() must not have {star}{name}", name))
    for name in parameters.positional_only:
        mistakes.append(source.mistake(f"input {name} must not be positional-only", name))
    fields = []
    for name, default in parameters.named:
        annotation = function.__annotations__.get(name, MISSING)
        judge = FieldJudge(name, annotation, default, function.__globals__)
        mistakes += [source.mistake(problem, name) for problem in judge.problems]
        notices += judge.notices
        if judge.field is not None:
            fields.append(judge.field)
    return fields


def _read_return(function: Any, flags: int, source: Source, mistakes: List[Mistake]) -> Optional[Output]:
    if "return" not in function.__annotations__:
        mistakes.append(source.mistake("missing return type annotation of predict(), as in `-> str`"))
        return None
    try:
        output = read_output(function.__annotations__["return"], function.__globals__)
    except (BadAnnotation, annotations.Unresolvable) as error:
        mistakes.append(source.mistake(str(error), returns=True))
        return None
    if flags & (_GENERATOR | _ASYNC_GENERATOR) and not output.streams:
        mistakes.append(
            source.mistake("predict() yields, so its return type must be an Iterator", returns=True)
        )
    return output


def _read_setup(
    setup: Any, cls: Any, predict_is_async: bool, mistakes: List[Mistake]
) -> Tuple[Optional[str], bool]:
    if setup is None:
        return None, False
    function = _unwrap(setup)
    if not isinstance(function, types.FunctionType):
        mistakes.append(_at_class(cls, "setup is not a function"))
        return None, False
    source = Source(function.__code__)
    parameters = _Parameters(function, True)
    if not parameters.has_self:
        mistakes.append(source.mistake("setup() must have 'self' as its first argument"))
    for star, name in (("*", parameters.star), ("**", parameters.double_star)):
        if name is not None:
            mistakes.append(source.mistake(f"setup() must not have {star}{name}", name))
    weights = None
    unexpected = []
    for name, default in parameters.named:
        if name == "weights":
            weights = _read_weights(function, source, mistakes)
        elif default is MISSING or isinstance(default, FieldInfo):
            unexpected.append(name)
    if unexpected:
        mistakes.append(
            source.mistake(f"unexpected setup() arguments: {', '.join(unexpected)}", unexpected[0])
        )
    if function.__annotations__.get("return") not in (None, annotations.NONE, "None"):
        mistakes.append(source.mistake("setup() must return None", returns=True))
    is_async = bool(function.__code__.co_flags & _COROUTINE)
    if is_async and not predict_is_async:
        mistakes.append(source.mistake("an async setup() needs an async predict()"))
    return weights, is_async


def _read_weights(function: Any, source: Source, mistakes: List[Mistake]) -> str:
    try:
        annotation = annotations.evaluate(function.__annotations__.get("weights", str), function.__globals__)
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
    described = annotations.describe(annotation)
    mistakes.append(source.mistake(f"weights of setup() must be a Path or str, not {described}", "weights"))
    return "str"


def input_schema(signature: Signature) -> Dict[str, Any]:
    """The schema of the input object."""
    properties = {field.name: field.schema(order) for order, field in enumerate(signature.fields)}
    found: Dict[str, Any] = {"type": "object", "title": "Input", "properties": properties}
    required = [field.name for field in signature.fields if field.required]
    if required:
        found["required"] = required
    return found
