"""Who imports whom: rooms only what stands above them, and each outside package only where it is at home."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "roofline"

ROOMS = (
    "errors",
    "units",
    "graph",
    "cost",
    "files",
    "tracing",
    "transforms",
    "costmodel",
    "measurement",
    "studies",
    "report",
    "api",
    "cli",
)
"""From the top down, as docs/how-it-works.md draws them; a room may be a file or a folder."""

HOMES = {
    "torch": ("tracing", "measurement"),
    "timm": ("tracing", "measurement"),
    "torchvision": ("tracing", "measurement"),
    "pydantic": ("costmodel/profile", "measurement", "studies/space.py"),
    "yaml": ("costmodel/profile", "measurement"),
    "rich": ("report", "cli"),
    "click": ("cli",),
    "pandas": ("costmodel/bulk.py", "costmodel/tables.py", "measurement/comparison.py", "studies/sweep/result.py", "studies/found.py"),
    "numpy": ("costmodel", "measurement", "studies", "report/cells.py", "report/packing.py", "report/sweep.py"),
    "plotly": ("report/document.py", "report/views"),
    "joblib": ("studies/sweep",),
    "pyarrow": ("studies/sweep", "studies/found.py"),
    "optuna": ("studies/search.py", "studies/storage.py", "studies/found.py"),
    "filelock": ("studies/sweep",),
    "dask": ("studies/sweep/workers.py",),
    "platformdirs": ("tracing/cache.py", "costmodel/hardware.py"),
}
"""Where each outside package may be imported."""

EAGER = {"numpy", "pydantic", "yaml", "click", "rich", "torch"}
"""Packages that some module imports at its top; the others load where they are used."""


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Walk the imports of a module as (dotted name, lazy), leaving out those under TYPE_CHECKING."""
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, lazy = stack.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            stack += [(child, lazy) for child in node.orelse]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((f"{node.module}.{alias.name}", lazy) for alias in node.names)
        else:
            inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            stack += [(child, inside) for child in ast.iter_child_nodes(node)]


MODULES = {path.relative_to(PACKAGE).as_posix(): set(imports(ast.parse(path.read_text()))) for path in sorted(PACKAGE.rglob("*.py"))}
ROOTS = ("__init__.py", "__main__.py")


def room(name: str) -> str:
    """Give the room of a path or of what follows `roofline.` in a dotted name."""
    return name.replace("/", ".").split(".")[0]


def test_every_module_is_in_a_room() -> None:
    assert {room(path) for path in MODULES if path not in ROOTS} <= set(ROOMS)


@pytest.mark.parametrize("path", [path for path in MODULES if path not in ROOTS])
def test_a_module_imports_only_from_its_own_room_and_those_above(path: str) -> None:
    allowed = {*ROOMS[: ROOMS.index(room(path)) + 1], "__version__"}
    used = {room(name.removeprefix("roofline.")) for name, _ in MODULES[path] if name.startswith("roofline.")}
    assert used - allowed == set()


@pytest.mark.parametrize("package", HOMES)
def test_an_outside_package_is_imported_only_at_home(package: str) -> None:
    users = {path for path, names in MODULES.items() if any(room(name) == package for name, _ in names)}
    assert users
    assert {path for path in users if not path.startswith(HOMES[package])} == set()


@pytest.mark.parametrize("path", MODULES)
def test_only_the_standard_library_and_declared_packages_are_imported(path: str) -> None:
    known = {*sys.stdlib_module_names, *HOMES, "roofline"}
    assert {room(name) for name, _ in MODULES[path]} - known == set()


WITH_TORCH = (
    *(f"tracing/{name}.py" for name in ("trace", "layouts", "blank", "training", "exported", "amoebanet", "yolo")),
    "measurement/",
)
"""Modules that are imported only where torch is wanted anyway."""


@pytest.mark.parametrize("path", [path for path in MODULES if not path.startswith(WITH_TORCH)])
def test_torch_and_the_zoos_load_only_when_used(path: str) -> None:
    assert {name for name, lazy in MODULES[path] if not lazy and room(name) in ("torch", "timm", "torchvision", "pandas")} == set()


def test_the_command_line_imports_each_command_when_it_is_used() -> None:
    eager = {name for name, lazy in MODULES["cli/__init__.py"] if not lazy and name.startswith("roofline.")}
    assert eager == {"roofline.errors.RooflineError"}


def test_the_walk_sees_lazy_imports_and_leaves_out_those_for_types() -> None:
    code = (
        "import a\nfrom b import c\nif TYPE_CHECKING:\n    import d\nelse:\n    import e\ndef f():\n    import g\nclass H:\n    import i\n"
    )
    assert set(imports(ast.parse(code))) == {("a", False), ("b.c", False), ("e", False), ("g", True), ("i", False)}
