"""The runtime's own promises: Python 3.9's syntax and nothing but the standard library."""

import ast
import sys
from pathlib import Path

PACKAGES = {"cog", "coglet"}


def test_syntax_and_imports(runtime: Path) -> None:
    files = sorted(runtime.rglob("*.py"))
    assert {path.relative_to(runtime).parts[0] for path in files} == PACKAGES
    for path in files:
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        for node in ast.walk(tree):
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


def test_cog_does_not_know_coglet(runtime: Path) -> None:
    assert not [path for path in (runtime / "cog").glob("*.py") if "coglet" in path.read_text()]
