"""The runtime's own promises: Python 3.9's syntax and nothing but the standard library."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGES = {"cog", "coglet"}


def test_syntax_and_imports(runtime: Path) -> None:
    files = sorted(runtime.rglob("*.py"))
    assert {path.relative_to(runtime).parts[0] for path in files} == PACKAGES
    for path in files:
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        for node in _executed(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, path
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                assert top in PACKAGES or top in sys.stdlib_module_names, (path, name)
    assert not (runtime / "__init__.py").exists()
    assert (runtime / "cog" / "py.typed").exists()


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but what only type checkers read."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _executed(child)


def test_cog_does_not_know_coglet(runtime: Path) -> None:
    # Its commands are run by a person; they start what the rest does not know.
    files = [path for path in (runtime / "cog").rglob("*.py") if path.parent.name != "command"]
    assert len(files) > 10
    assert not [path for path in files if "coglet" in path.read_text()]
