"""The architecture: which package may import which, what starts fast, sizes of files, who prints and parses flags."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
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
    ("quality",),
    ("models",),
    ("evaluation",),
    ("training", "inference"),
    ("dicom", "export", "archive", "review"),
    ("planning", "new_task"),
    ("convert",),
    ("commands",),
)
"""Packages and single modules, lowest first; each imports itself and what lies in lower layers, nothing else."""
IMPORTS = {
    "geometry": "compiled sizes types",
    "schema": "errors sizes",
    "io": "errors sizes types",
    "runs": "errors sizes schema io",
    "reporting": "types schema io",
    "annotations": "errors sizes types geometry schema io",
    "phantom": "errors types geometry schema io runs annotations",
    "prepare": "errors sizes types geometry schema io runs reporting annotations",
    "preprocess": "errors compiled sizes types schema io runs",
    "postprocess": "sizes types geometry schema",
    "quality": "types postprocess",
    "models": "errors sizes types geometry schema io runs preprocess postprocess quality",
    "evaluation": "errors sizes types geometry schema io runs reporting prepare preprocess postprocess quality models",
    "training": "errors types sizes schema io runs reporting preprocess postprocess quality models evaluation",
    "planning": "errors sizes types geometry schema io runs prepare preprocess models evaluation training",
    "new_task": "errors sizes types geometry schema io reporting annotations prepare",
    "convert": "errors sizes types geometry schema io annotations prepare new_task",
    "export": "errors types schema io runs models postprocess evaluation",
    "commands": "errors schema io runs evaluation models inference export new_task convert dicom archive review",
    "review": "errors sizes types annotations geometry schema io runs reporting prepare preprocess postprocess models "
    "evaluation inference",
    "dicom": "errors sizes types annotations geometry schema io runs models inference",
    "archive": "errors sizes types annotations schema io runs prepare postprocess inference",
    "inference": "errors sizes types geometry schema io runs reporting annotations prepare postprocess quality models",
}
"""Package -> what it imports, lower layers only; a package that is not listed imports none."""
NO_TORCH = ("io", "schema", "geometry", "runs", "reporting", "annotations", "phantom")
NO_TORCH += ("prepare", "preprocess", "postprocess", "quality", *LAYERS[0])
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((REPOSITORY / "sonoseg").rglob("*.py"))
}
TOOLS = sorted(path for folder in ("benchmarks", "stress", "tools") for path in (REPOSITORY / folder).rglob("*.py"))
COMMAND_LINE = ("sonoseg.runs.command_line", "sonoseg.runs.terminal", "sonoseg.archive.command_line")
"""Besides `__main__` modules, the modules of the package that may print and parse flags: the scripts use them."""
OTHER_PROGRAMS_FLAGS = {"--logdir", "--porcelain", "--untracked-files"}
"""Flags of TensorBoard and git, which the package names or uses."""
MAX_MODULES = 14


def prints(module: str) -> bool:
    """Whether a module of the package may print and parse flags."""
    return module in COMMAND_LINE or module.endswith(".__main__") or module.startswith("sonoseg.commands.")


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
        if f"{name}.".startswith(f"sonoseg.{package}."):
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


def parameters_of(arguments: ast.arguments) -> list[ast.arg]:
    """Return all parameters of a function; `*args` and `**kwargs` are one each."""
    variable = [parameter for parameter in (arguments.vararg, arguments.kwarg) if parameter is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *variable]


def test_files_and_functions_stay_readable() -> None:
    beyond = []
    for path in [*MODULES.values(), *TOOLS, *(REPOSITORY / script for script in SCRIPTS)]:
        text = path.read_text()
        if len(text.splitlines()) > 300:
            beyond.append(f"{path.name}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = sum(parameter.arg not in ("self", "cls") for parameter in parameters_of(node.args))
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > 6 or lines > 60:
                    beyond.append(f"{path.name}, {node.name}: {count} parameters, {lines} lines")
    assert not beyond, f"beyond 300 lines a file, 60 a function, or 6 parameters: {beyond}"


def test_packages_have_few_modules() -> None:
    """Counted are the modules of each folder besides its `__init__`; a subpackage counts its own."""
    modules = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    beyond = {folder.name: count for folder, count in modules.items() if count > MAX_MODULES}
    assert not beyond, f"beyond {MAX_MODULES} modules a package: {beyond}"


def command_line_uses(path: Path) -> Iterator[str]:
    """Yield `file:line: what` for each call of print, import of argparse, and string that names a flag."""
    for node in ast.walk(ast.parse(path.read_text())):
        used = ""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            used = "print()"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            used = "argparse" if "argparse" in names else ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", node.value)) - OTHER_PROGRAMS_FLAGS
            used = ", ".join(sorted(flags))
        if used:
            yield f"{path.relative_to(REPOSITORY)}:{node.lineno}: {used}"  # type: ignore[attr-defined]


def test_library_modules_print_nothing_and_name_no_flags() -> None:
    libraries = [path for name, path in MODULES.items() if not prints(name)]
    uses = [use for path in libraries for use in command_line_uses(path)]
    assert not uses, "libraries print nothing, parse no flags and name none; " + "; ".join(uses)


def test_uses_of_the_command_line_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "REPOSITORY", tmp_path)
    (tmp_path / "a.py").write_text(
        "import argparse\nfrom argparse import Action\nprint('a -- b')\nraise ValueError(f'{1} needs --force')\n"
        "call = ['git', '--porcelain', 'x--y', '---']\n"
    )
    assert sorted(command_line_uses(tmp_path / "a.py")) == [
        "a.py:1: argparse",
        "a.py:2: argparse",
        "a.py:3: print()",
        "a.py:4: --force",
    ]
