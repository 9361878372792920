"""The rules of the house: who may import whom, what starts fast, how long a file may get."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPTS = ("train_test_data_preparation.py", "image_preprocessing.py", "training.py", "inference.py")
WINGS = ("core", "phantom", "prepare", "preprocess", "postprocess", "train", "infer")
MAY_IMPORT = {
    "core": set(),
    "phantom": {"core"},
    "prepare": {"core"},
    "preprocess": {"core", "prepare"},
    "postprocess": {"core", "prepare", "preprocess"},
    "train": {"core", "prepare", "preprocess", "postprocess"},
    "infer": {"core", "prepare", "preprocess", "postprocess", "train"},
}
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((REPOSITORY / "sonoseg").rglob("*.py"))
}


IN_WINGS = sorted(name for name in MODULES if name.count(".") >= 1 and name != "sonoseg.__main__")
"""`python -m sonoseg` stands outside of the wings, as the scripts do."""


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


def test_every_wing_is_known() -> None:
    assert {name.split(".")[1] for name in IN_WINGS} == set(WINGS)


@pytest.mark.parametrize("module", IN_WINGS)
def test_no_wing_imports_a_later_one(module: str) -> None:
    wing = module.split(".")[1]
    others = {name.split(".")[1] for name in imports(MODULES[module]) if name.startswith("sonoseg.")} - {wing}
    assert others <= MAY_IMPORT[wing], f"{module} may import {MAY_IMPORT[wing]}, found {others}"


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


@pytest.mark.parametrize("wing", ["core", "phantom", "prepare", "preprocess", "postprocess"])
def test_early_wings_know_no_torch(wing: str) -> None:
    for name, path in MODULES.items():
        if name.startswith(f"sonoseg.{wing}"):
            heavy = {"torch", "monai", "lightning_fabric"} & {used.split(".")[0] for used in imports(path)}
            assert not heavy, f"{name} imports {heavy}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_answers_without_the_heavy_libraries(script: str) -> None:
    code = (
        f"import sys, runpy; sys.argv = ['{script}', '--help']\n"
        f"try: runpy.run_path('{script}', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'torch', 'monai', 'pandas', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--task" in done.stdout and "--workspace" in done.stdout


def test_files_stay_readable() -> None:
    scripts = [REPOSITORY / script for script in SCRIPTS]
    long = {
        path.name: count
        for path in [*MODULES.values(), *scripts]
        if (count := len(path.read_text().splitlines())) > 300
    }
    assert not long, f"files beyond 300 lines: {long}"
