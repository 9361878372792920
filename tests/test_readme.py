"""README, guide and CONTRIBUTING: the commands, task files, links and code that they show are valid."""

import ast
import io
import json
import re
import runpy
import shlex
import signal
import subprocess
import sys
import textwrap
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from sonoseg.postprocess.interpret import Findings
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import available_tasks, load_draft, load_task, parse_task, task_of
from tests.conftest import REPOSITORY

README = REPOSITORY / "README.md"
GUIDE = sorted((REPOSITORY / "docs" / "guide").glob("*.md"))
PAGES = [README, *GUIDE, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md"]
PAGES += [*sorted((REPOSITORY / "docs").glob("*.md")), REPOSITORY / "Datasets" / "README.md"]
MAKEFILE = (REPOSITORY / "Makefile").read_text()
SCRIPTS = sorted(path.name for path in REPOSITORY.glob("*.py"))
COMMANDS = (
    *("sonoseg", "sonoseg verify", "sonoseg models", "sonoseg convert", "sonoseg new-task", "sonoseg dicom-node"),
    *("sonoseg export", "sonoseg export-masks", "sonoseg quantize", "sonoseg review", "sonoseg suggest"),
    *("sonoseg.phantom", "benchmarks"),
)
MODULES = (
    "benchmarks.ablation",
    "benchmarks.annotation_noise",
    "benchmarks.archives",
    "benchmarks.coverage",
    "benchmarks.mirrored_half",
    "benchmarks.skin",
    "benchmarks.review_page",
    "benchmarks.suggested_labels",
    "tools.score_shipped",
    "stress.fuzz",
    "stress.killtest",
    "stress.load",
)
OTHER_PROGRAMS = {"jupyter", "pip", "pre-commit", "pynetdicom", "sha256sum", "tensorboard", "."}
"""Programs of other projects: their flags are not checked."""


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language, without the indentation of list items."""
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(text) for name, text in fenced if name == language]


def commands(page: Path) -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks(page, "") for line in block.splitlines()]
    return [
        line for line in lines if line.startswith(("python ", "make", "sonoseg ", "torchrun ", "tensorboard ", "pip "))
    ]


@pytest.fixture(scope="module")
def help_texts() -> dict[str, str]:
    """What `--help` of each script, command and module prints."""
    started = {}
    for name in [*SCRIPTS, *COMMANDS]:
        arguments = [name] if name.endswith(".py") else ["-m", *name.split()]
        started[name] = subprocess.Popen(
            [sys.executable, *arguments, "--help"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
    texts = {name: process.communicate()[0] for name, process in started.items()}
    assert not any(process.returncode for process in started.values())
    return texts | {name: help_of(name) for name in MODULES}


def help_of(module: str) -> str:
    """Return what `--help` of a module prints, in this process, where the libraries that it imports are loaded."""
    interrupt = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(sys, "argv", [module, "--help"])
        patch.delitem(sys.modules, module, raising=False)  # another test may have imported it
        with pytest.raises(SystemExit) as end:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    signal.signal(signal.SIGINT, interrupt)  # a process that ends ignores it
    assert not end.value.code
    return printed.getvalue()


def program_of(words: list[str]) -> tuple[str, list[str]]:
    """Return a key of `help_texts`, or another program's name, and the arguments of a command line."""
    if words[0] == "torchrun":
        assert words[3] == "--", "flags of torchrun end with --"
        return words[4], words[5:]
    if words[0] == "python":
        name, rest = (words[2], words[3:]) if words[1] == "-m" else (words[1], words[2:])
    else:
        name, rest = words[0], words[1:]
    return (f"{name} {rest[0]}", rest[1:]) if name == "sonoseg" else (name, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_existing_scripts_flags_tasks_and_targets(page: Path, help_texts: dict[str, str]) -> None:
    for line in commands(page):
        program, arguments = program_of(shlex.split(line))
        if program == "make":
            for target in arguments or ["demo"]:
                assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), f"{page.name}: make {target}"
        elif program == "pytest":
            assert all(list(REPOSITORY.glob(name)) for name in arguments if not name.startswith("-")), line
        elif program not in OTHER_PROGRAMS:
            assert program in help_texts, f"{page.name}: {line}: no such program"
            for flag in (word for word in arguments if word.startswith("--")):
                assert re.search(rf"{flag}\b(?!-)", help_texts[program]), f"{page.name}: {line}: no such flag {flag}"
            if "--task" in arguments:
                task = arguments[arguments.index("--task") + 1]
                assert task in available_tasks() or task in ("nerve.yaml", "folder.yaml", "hc18.yaml"), (
                    f"{page.name}: {line}: no such task"
                )


@pytest.mark.parametrize("page", [README, *GUIDE], ids=lambda page: page.name)
def test_flags_in_running_text_exist(page: Path, help_texts: dict[str, str]) -> None:
    everything = "\n".join(help_texts.values())
    for flag in re.findall(r"`(--[a-z][a-z-]*)", page.read_text()):
        assert re.search(rf"{flag}\b(?!-)", everything), f"{page.name}: no script has {flag}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)", path.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{page.name}: no heading {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_source_files_that_pages_name_exist(page: Path) -> None:
    folders = [REPOSITORY, REPOSITORY / "sonoseg", REPOSITORY / "tests" / "trust"]
    for name in re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`", page.read_text()):
        is_output = name.split("/")[0] in ("Datasets", "Train_Test_Dataset", "Models", "result", "logs", "dicom_spool")
        is_data = name in ("images/", "masks/", "train/", "training_set/", "engines/", "out_of_fold/", "ensemble/")
        assert is_output or is_data or any((folder / name).exists() for folder in folders), f"{page.name}: {name}"


def test_the_task_file_is_one_of_ten_lines_that_leaves_the_training_open(tmp_path: Path) -> None:
    (text,) = blocks(REPOSITORY / "docs" / "guide" / "tasks.md", "yaml")
    assert len(text.splitlines()) <= 10
    (tmp_path / "nerve.yaml").write_text(text)
    draft = load_draft(tmp_path / "nerve.yaml")
    task = task_of(draft)
    assert task.name == "nerve" and task.class_names == ["NERVE"] and draft.plan.minutes == 30
    assert "network.name" in draft.open and task.metadata.file == "metadata.csv" and task.review.expected == []


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.name)
def test_sections_of_a_task_file_are_valid(page: Path) -> None:
    for text in blocks(page, "yaml"):
        sections = yaml.safe_load(text)
        if not {"extends", "plan"} & sections.keys():
            parse_task({**load_task("nerve_unet").model_dump(), **sections}, source=page.name)


def test_every_section_of_a_task_is_described() -> None:
    text = (REPOSITORY / "docs" / "guide" / "tasks.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == {*Task.model_fields, "plan", "exclude"}


def test_the_annotation_example_is_json_of_the_spine_task() -> None:
    (text,) = blocks(REPOSITORY / "docs" / "guide" / "annotation_formats.md", "json")
    shapes = next(iter(json.loads(text).values()))
    assert [shape[0] for shape in shapes] == load_task("spine").class_names


def test_every_task_is_in_the_table_and_loads() -> None:
    text = README.read_text()
    for name in available_tasks():
        assert f"| `{name}`" in text, f"{name} is missing in the table of tasks"
        file = REPOSITORY / f"sonoseg/tasks/{name}.yaml"
        assert load_task(name).name == name == yaml.safe_load(file.read_text())["name"]


def test_python_examples_use_existing_attributes() -> None:
    for page in [README, *GUIDE]:
        for text in (block for block in blocks(page, "python") if "Segmenter" in block):
            nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)]
            used = {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "result"}
            assert used and used <= {field.name for field in fields(Findings)}


def test_every_page_of_the_guide_opens_with_a_question_and_is_linked() -> None:
    for page in GUIDE:
        title = page.read_text().splitlines()[0]
        assert title.startswith("# ") and title.endswith("?"), f"{page.name}: {title}"
        assert f"docs/guide/{page.name}" in README.read_text()


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 110
