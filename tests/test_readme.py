"""What the README shows works as it stands."""

import json
import re
from pathlib import Path

import yaml

from sonoseg.schema.task_files import available_tasks, load_task
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_task_file_is_a_task_of_ten_lines(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    assert len(text.splitlines()) <= 10
    (tmp_path / "nerve.yaml").write_text(text)
    task = load_task(tmp_path / "nerve.yaml")
    assert task.name == "nerve" and task.class_names == ["NERVE"] and task.network == load_task("fetal_head").network
    assert task.metadata.file == "metadata.csv" and task.metadata.reference == {} and task.review.expected == []


def test_the_annotation_example_is_json_of_the_spine_task() -> None:
    (text,) = blocks("json")
    shapes = next(iter(json.loads(text).values()))
    assert [shape[0] for shape in shapes] == load_task("spine").class_names


def test_every_task_is_in_the_table_and_loads() -> None:
    for name in available_tasks():
        assert f"| `{name}`" in README, f"{name} is missing in the table of tasks"
        assert (
            load_task(name).name
            == name
            == yaml.safe_load((REPOSITORY / f"sonoseg/tasks/{name}.yaml").read_text())["name"]
        )


def test_scripts_pictures_and_pages_exist() -> None:
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (REPOSITORY / path).exists(), path
    for script in re.findall(r"^python (\w+\.py)", README, re.MULTILINE):
        assert (REPOSITORY / script).is_file(), script
