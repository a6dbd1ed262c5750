"""``python -m cog.command.call_graph FILE``: the models that a pipeline names with ``replicate.use``."""

import ast
import sys
from typing import Dict, Iterator, List, Optional

USE = "replicate.use"


def analyze_python_file(file_path: str) -> List[str]:
    """The models in order of appearance. Raises ``ValueError`` for a use that cannot be known beforehand."""
    with open(file_path, "rb") as file:
        tree = ast.parse(file.read())
    names: Dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update((each.asname or each.name, each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update((each.asname or each.name, f"{node.module}.{each.name}") for each in node.names)
    found = []
    for call, inside in _calls(tree, False):
        if _called(call, names) != USE:
            continue
        if inside:
            raise ValueError(f"{file_path}:{call.lineno}: {USE}(...) must be in the global scope")
        if call.args:
            argument = call.args[0]
            if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
                raise ValueError(
                    f"{file_path}:{call.lineno}: the argument of {USE}(...) must be a plain string"
                )
            found.append(argument.value)
    return found


def _calls(node: ast.AST, inside: bool) -> Iterator["tuple[ast.Call, bool]"]:
    """Each call, and whether it is inside a function or a class."""
    inside = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda))
    if isinstance(node, ast.Call):
        yield node, inside
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, inside)


def _called(call: ast.Call, names: Dict[str, str]) -> Optional[str]:
    function = call.func
    if isinstance(function, ast.Name):
        return names.get(function.id, function.id)
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{names.get(function.value.id, function.value.id)}.{function.attr}"
    return None


def main(filepath: str) -> None:
    print(",".join(sorted(set(analyze_python_file(filepath)))))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m cog.command.call_graph FILE.py")
    try:
        main(sys.argv[1])
    except (OSError, ValueError) as error:
        sys.exit(str(error))
