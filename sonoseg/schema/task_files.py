"""Find, read and validate task files."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sonoseg.errors import TaskError, choices
from sonoseg.schema.task import Task
from sonoseg.schema.yaml_text import read_yaml

FOLDER = Path(__file__).resolve().parents[1] / "tasks"

MAX_PARENTS = 10
"""Longest chain of task files that extend one another."""


def available_tasks() -> list[str]:
    """Return the names of the tasks that come with SonoSeg, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_task(name_or_file: str | Path) -> Task:
    """Return the validated task of this name, or of this YAML file, merged with the tasks that it extends.

    Raises TaskError: an unknown name (the choices are listed), unreadable YAML, a missing, unknown or wrong field.
    """
    path = _find(str(name_or_file), beside=Path.cwd())
    fields = _read_with_parents(path, seen=[])
    return parse_task(fields, source=str(path))


def parse_task(fields: dict[str, Any], source: str) -> Task:
    """Validate a task given as a dictionary; `source` is named in the error. Raises TaskError."""
    try:
        return Task.model_validate(fields)
    except ValidationError as error:
        problems = [f"{_field(problem)}: {_sentence(problem)}" for problem in error.errors()]
        raise TaskError(f"{source}: not a valid task file\n" + "\n".join(f"  - {p}" for p in problems)) from None


def _find(name_or_file: str, beside: Path) -> Path:
    is_file = name_or_file.endswith((".yaml", ".yml"))
    path = beside / name_or_file if is_file else FOLDER / f"{name_or_file}.yaml"
    if not _is_file(path):
        raise TaskError(
            f"{name_or_file}: no such {'task file' if is_file else 'task'}; "
            f"expected {choices(available_tasks())}, or the path of a .yaml file"
        )
    return path


def _is_file(path: Path) -> bool:
    """Return whether there is a regular file; False for a path that no file can have, such as one with a NUL."""
    try:
        return path.is_file()
    except OSError:
        return False


def _read_with_parents(path: Path, seen: list[Path]) -> dict[str, Any]:
    if path in seen or len(seen) > MAX_PARENTS:
        raise TaskError(
            f"{path}: extends forms a cycle, or has more than {MAX_PARENTS} steps; remove one of the entries"
        )
    fields = read_yaml(path)
    if not isinstance(fields, dict):
        raise TaskError(f"{path}: found {type(fields).__name__}; expected fields such as 'name:' and 'structures:'")
    parent = fields.pop("extends", None)
    if parent is None:
        return fields
    return _merge(_read_with_parents(_find(str(parent), beside=path.parent), [*seen, path]), fields)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge sections field by field; lists and plain values are replaced, and null restores the default."""
    merged = dict(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
            continue
        both_sections = (
            isinstance(value, dict) and isinstance(merged.get(key), dict) and not _other_kind(key, merged[key], value)
        )
        merged[key] = _merge(merged[key], value) if both_sections else value
    return merged


def _other_kind(key: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Return whether a section is of another kind than the extended one, whose fields then do not apply."""
    kind = {"annotations": "format", "network": "name"}.get(key)
    return (kind in new and new[kind] != old.get(kind)) or {*old, *new} == {"column", "pattern"}


def _field(problem: Any) -> str:
    return ".".join(str(part) for part in problem["loc"]) or "task"


def _sentence(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "there is no such field; check its spelling and its section"
    if problem["type"] == "missing":
        return "this field is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], str | int | float | bool | None) and problem["type"] != "value_error":
        message += f" (found {_shown(problem['input'])})"
    return message[:1].lower() + message[1:]


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
