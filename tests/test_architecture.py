"""The architecture: which package may import which, what starts fast, how long a file may get."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPTS = ("train_test_data_preparation.py", "image_preprocessing.py", "training.py", "inference.py")
LAYERS = (
    ("errors", "compiled", "sizes", "types"),
    ("geometry",),
    ("schema", "io"),
    ("runs", "reporting"),
    ("annotations",),
    ("phantom", "prepare", "preprocess", "postprocess"),
    ("models",),
    ("evaluation",),
    ("training", "inference"),
)
"""Packages and single modules, lowest first; each imports itself and what lies in lower layers, nothing else."""
IMPORTS = {
    "geometry": "compiled sizes types",
    "schema": "errors sizes",
    "io": "errors sizes types",
    "runs": "errors sizes schema io",
    "reporting": "types schema io",
    "annotations": "errors types geometry schema io",
    "phantom": "errors types geometry schema io runs annotations",
    "prepare": "errors sizes types geometry schema io runs reporting annotations",
    "preprocess": "errors compiled sizes types schema io runs",
    "postprocess": "sizes types geometry schema",
    "models": "errors sizes types geometry schema io runs preprocess postprocess",
    "evaluation": "errors sizes types geometry schema io runs reporting prepare preprocess postprocess models",
    "training": "errors types schema io runs reporting preprocess postprocess models evaluation",
    "inference": "errors sizes types geometry schema io runs reporting annotations prepare postprocess models",
}
"""Package -> what it imports, lower layers only; a package that is not listed imports none."""
NO_TORCH = ("io", "schema", "geometry", "runs", "reporting", "annotations", "phantom")
NO_TORCH += ("prepare", "preprocess", "postprocess")
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((REPOSITORY / "sonoseg").rglob("*.py"))
}


IN_PACKAGES = sorted(name for name in MODULES if name.count(".") >= 1 and name != "sonoseg.__main__")
"""`python -m sonoseg` imports from all packages, as the scripts do."""


def imports(path: Path, inside_functions: bool = True) -> set[str]:
    """Return the modules of the package that a file imports, those inside functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the module in full"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return found


def test_every_package_has_a_layer() -> None:
    assert {name.split(".")[1] for name in IN_PACKAGES} == {name for layer in LAYERS for name in layer}


@pytest.mark.parametrize("package", sorted({name.split(".")[1] for name in IN_PACKAGES}))
def test_a_package_imports_what_is_listed_from_lower_layers(package: str) -> None:
    used = {
        name.split(".")[1]
        for module in IN_PACKAGES
        if module.split(".")[1] == package
        for name in imports(MODULES[module])
        if name.startswith("sonoseg.") and name in MODULES
    } - {package}
    layer = next(number for number, names in enumerate(LAYERS) if package in names)
    lower = {name for names in LAYERS[:layer] for name in names}
    assert used <= lower, f"{package} imports {used - lower}, which are not in a lower layer"
    assert used == set(IMPORTS.get(package, "").split()), f"{package}: the list of imports is not up to date"


def test_no_import_goes_in_a_circle() -> None:
    graph = {
        name: {other for other in imports(path) if other in MODULES and other != name} for name, path in MODULES.items()
    }
    finished: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        assert name not in trail, f"import cycle: {' -> '.join([*trail, name])}"
        if name not in finished:
            for other in sorted(graph[name]):
                visit(other, [*trail, name])
            finished.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("package", NO_TORCH)
def test_packages_below_models_know_no_torch(package: str) -> None:
    for name, path in MODULES.items():
        if name.startswith(f"sonoseg.{package}."):
            heavy = {"torch", "monai", "lightning_fabric"} & {used.split(".")[0] for used in imports(path)}
            assert not heavy, f"{name} imports {heavy}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_answers_without_the_heavy_libraries(script: str) -> None:
    code = (
        f"import sys, runpy; sys.argv = ['{script}', '--help']\n"
        f"try: runpy.run_path('{script}', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'numpy', 'torch', 'monai', 'pandas', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--task" in done.stdout and "--workspace" in done.stdout


def test_files_and_functions_stay_readable() -> None:
    beyond = []
    for path in [*MODULES.values(), *(REPOSITORY / script for script in SCRIPTS)]:
        text = path.read_text()
        if len(text.splitlines()) > 300:
            beyond.append(f"{path.name}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = sum(parameter.arg not in ("self", "cls") for parameter in parameters)
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > 6 or lines > 60:
                    beyond.append(f"{path.name}, {node.name}: {count} parameters, {lines} lines")
    assert not beyond, f"beyond 300 lines a file, 60 a function, or 6 parameters: {beyond}"
