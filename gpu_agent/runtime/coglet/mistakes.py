"""Mistakes in a predictor, and where in its source they are.

LoadError                 the predictor cannot be used; the text says why
└── Refused               its signature breaks rules; ``mistakes`` has all of them
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple


class LoadError(Exception):
    """The predictor cannot be used."""


class Mistake(NamedTuple):
    """One broken rule. ``line`` counts from 1, 0 when the source is not there."""

    file: str
    line: int
    text: str


class Refused(LoadError):
    """Every mistake of the signature at once, each with its file and line."""

    def __init__(self, mistakes: List[Mistake]) -> None:
        super().__init__(_render(mistakes))
        self.mistakes = mistakes


class Source:
    """Finds the lines of one function's parts. Reads the file only when it is asked."""

    def __init__(self, code: Any) -> None:
        self._code = code
        self._node: Any = None
        self._parsed = False

    def mistake(self, text: str, parameter: Optional[str] = None, returns: bool = False) -> Mistake:
        """A mistake at a parameter, at the return annotation, or at the ``def`` itself."""
        node = self._function()
        line = self._code.co_firstlineno
        if node is not None:
            line = node.lineno
            if parameter is not None:
                arguments = node.args
                every = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
                every += [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
                line = next((argument.lineno for argument in every if argument.arg == parameter), line)
            elif returns and node.returns is not None:
                line = node.returns.lineno
        return Mistake(self._code.co_filename, line, text)

    def _function(self) -> Any:
        if not self._parsed:
            self._parsed = True
            self._node = _find_function(self._code)
        return self._node


def _find_function(code: Any) -> Any:
    import ast

    try:
        with open(code.co_filename, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == code.co_name:
            # A decorated function's code begins at its first decorator.
            first = min([node.lineno] + [decorator.lineno for decorator in node.decorator_list])
            if first == code.co_firstlineno:
                return node
    return None


def _render(mistakes: List[Mistake]) -> str:
    grouped: Dict[Tuple[str, int], List[str]] = {}
    for mistake in mistakes:
        grouped.setdefault((mistake.file, mistake.line), []).append(mistake.text)
    lines = []
    for (file, line), texts in grouped.items():
        shown = os.path.relpath(file) if file.startswith(os.getcwd() + os.sep) else file
        lines += [f"{shown}:{line}: {text}" for text in texts]
        source = _line(file, line)
        if source:
            lines.append(f"{line:>6} | {source}")
    return "\n".join(lines)


def _line(file: str, line: int) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as source:
            for number, text in enumerate(source, 1):
                if number == line:
                    return text.strip()
    except OSError:
        pass
    return ""
