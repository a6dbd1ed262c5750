"""The rules of who may import whom, and of how large a file may grow: read from the source with ``ast``."""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("edge", "coordinator", "gpu_agent")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAX_LINES = 700

MAY_IMPORT = {
    "coordinator/protocol": ("coordinator.protocol",),
    "coordinator/actor": ("coordinator.actor", "coordinator.errors"),
    "coordinator": ("coordinator",),
    "gpu_agent/runtime": (),
    "gpu_agent": ("gpu_agent", "coordinator.protocol"),
    # The command line puts the parts together, each inside its own command.
    "edge/commands": ("edge", "coordinator", "gpu_agent"),
    "edge": ("edge", "coordinator"),
}
"""Our own modules that those of a folder may import; the longest matching folder counts."""

PURE = ("coordinator/protocol", "coordinator/prediction.py", "coordinator/scheduling.py")
IMPURE_MODULES = {"asyncio", "time", "socket", "threading", "subprocess", "sqlite3", "httpx", "websockets"}
AGENTS_LIBRARIES = {"msgspec", "websockets", "httpx", "yaml", "httpcore", "h11", "anyio", "certifi"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(
    path: Path, nodes: Callable[[ast.AST], Iterable[ast.AST]] = ast.walk
) -> Iterator[tuple[int, str]]:
    for node in nodes(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but what only type checkers read."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from executed(child)


def top(name: str) -> str:
    return name.partition(".")[0]


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def folder_rule(path: Path) -> tuple[str, ...]:
    folder = max((f for f in MAY_IMPORT if relative(path).startswith(f + "/")), key=len)
    return MAY_IMPORT[folder]


def in_runtime(path: Path) -> bool:
    return relative(path).startswith("gpu_agent/runtime/")


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_point_in_one_direction(path: Path) -> None:
    allowed = folder_rule(path)
    ours = [(line, name) for line, name in imports(path) if top(name) in (*PACKAGES, "migrations")]
    wrong = [f"line {line}: {name}" for line, name in ours if not within(name, allowed)]
    assert not wrong


@pytest.mark.parametrize("path", [p for p in SOURCES if relative(p).startswith(PURE)], ids=relative)
def test_pure_modules_have_no_loop_no_clock_and_no_socket(path: Path) -> None:
    assert not [f"line {line}: {name}" for line, name in imports(path) if top(name) in IMPURE_MODULES]


@pytest.mark.parametrize("path", [p for p in SOURCES if in_runtime(p)], ids=relative)
def test_the_models_runtime_needs_only_the_standard_library(path: Path) -> None:
    allowed = sys.stdlib_module_names | {"cog", "coglet"}
    assert not [f"line {line}: {name}" for line, name in imports(path, executed) if top(name) not in allowed]


@pytest.mark.parametrize("path", [p for p in SOURCES if relative(p).startswith("gpu_agent/")], ids=relative)
def test_the_agent_needs_only_the_base_dependencies(path: Path) -> None:
    allowed = sys.stdlib_module_names | AGENTS_LIBRARIES | {"cog", "coglet", *PACKAGES}
    assert not [f"line {line}: {name}" for line, name in imports(path, executed) if top(name) not in allowed]


def test_nothing_outside_of_the_edge_imports_it() -> None:
    others = [path for path in SOURCES if not relative(path).startswith("edge/")]
    assert not [relative(path) for path in others if any(top(name) == "edge" for _, name in imports(path))]


def test_package_files_are_empty() -> None:
    packages = [path for path in SOURCES if path.name == "__init__.py" and not in_runtime(path)]
    assert not [relative(path) for path in packages if path.read_bytes().strip()]


def test_files_stay_small_enough_to_read() -> None:
    tests = (ROOT / "tests").rglob("*.py")
    long = {relative(path): len(path.read_bytes().splitlines()) for path in (*SOURCES, *tests)}
    assert not {name: lines for name, lines in long.items() if lines > MAX_LINES}


def test_our_environment_variables_are_read_by_the_command_line_alone() -> None:
    lines = ((relative(path), line) for path in SOURCES for line in path.read_text("utf-8").splitlines())
    assert not [f"{name}: {line}" for name, line in lines if "environ" in line and '"COGFLARE_' in line]
