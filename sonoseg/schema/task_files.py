"""Find, read and validate task files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from sonoseg.errors import TaskError, choices
from sonoseg.schema.annotation_formats import FORMS
from sonoseg.schema.drafts import (
    AUTO,
    Draft,
    Exclusion,
    PlanSettings,
    StatedIn,
    missing_settings,
    open_settings,
    provisional,
)
from sonoseg.schema.section import Section
from sonoseg.schema.task import Task
from sonoseg.schema.yaml_text import read_yaml

FOLDER = Path(__file__).resolve().parents[1] / "tasks"

_S = TypeVar("_S", bound=Section)

MAX_PARENTS = 10
"""Longest chain of task files that extend one another."""


def available_tasks() -> list[str]:
    """Return the names of the tasks that come with SonoSeg, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_task(name_or_file: str | Path) -> Task:
    """Return the validated task of this name, or of this YAML file, merged with the tasks that it extends.

    Raises TaskError: an unknown name (the choices are listed), unreadable YAML, a missing, unknown or wrong field.
    """
    draft = load_draft(name_or_file)
    if draft.is_open:
        raise TaskError(
            f"{draft.source}: leaves {_some(draft.open)} to be planned from the data; run stage 1 "
            "(train_test_data_preparation.py) first, which writes the planned task"
        )
    return task_of(draft)


def load_draft(name_or_file: str | Path) -> Draft:
    """Return the fields of a task, merged with those of the tasks that it extends, and what they leave open.

    Raises TaskError: an unknown name, unreadable YAML, wrong settings of the plan or of what is excluded.
    """
    path = _find(str(name_or_file), beside=Path.cwd())
    chain = _with_parents(path)
    fields: dict[str, Any] = {}
    for file, stated in reversed(chain):
        fields = _merge(fields, stated)
        _check_nulls(stated, fields, str(file))
    source = str(path)
    plan = _section(PlanSettings, fields.pop("plan", None) or {}, "plan", source)
    exclude = _section(Exclusion, {"exclude": fields.pop("exclude", None) or []}, "", source).exclude
    if fields.get("patients") == AUTO:
        del fields["patients"]
    kept, automatic = open_settings(fields)
    if not kept.get("title") and kept.get("name"):
        kept["title"] = str(kept["name"]).replace("_", " ").capitalize()
    unset = tuple(dict.fromkeys([*automatic, *missing_settings(kept)]))
    return Draft(kept, source, _stated_in("patients", chain), unset, plan, exclude)


def task_of(draft: Draft, planned: Mapping[str, Any] | None = None) -> Task:
    """Return the task of a draft; what it leaves open is taken from `planned`, else has a provisional value.

    Raises TaskError when a field is wrong.
    """
    base = (provisional(draft.fields) if planned is None else dict(planned)) if draft.is_open else {}
    return parse_task(_merge(base, dict(draft.fields)), draft.source)


def _section(kind: type[_S], fields: Any, name: str, source: str) -> _S:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise _not_valid(error.errors(), source, name) from None


def _check_nulls(stated: dict[str, Any], fields: dict[str, Any], source: str) -> None:
    """Raise TaskError for a field that a file sets to null and that no task has: it would switch nothing off."""
    nulled = _with_nulls_of(stated, fields)
    try:
        if nulled != fields:
            Task.model_validate(nulled)
    except ValidationError as error:
        unknown = [
            one
            for one in error.errors()
            if one["type"] == "extra_forbidden" and one["input"] is None and one["loc"] not in (("plan",), ("exclude",))
        ]
        if unknown:
            raise _not_valid(unknown, source) from None


def _with_nulls_of(stated: dict[str, Any], fields: Any) -> dict[str, Any]:
    """Return the fields, with null where the stated ones are null."""
    result = dict(fields) if isinstance(fields, dict) else {}
    for key, value in stated.items():
        if value is None:
            result[key] = None
        elif isinstance(value, dict):
            result[key] = _with_nulls_of(value, result.get(key))
    return result


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more settings" if len(names) > 3 else "")


def parse_task(fields: dict[str, Any], source: str) -> Task:
    """Validate a task given as a dictionary; `source` is named in the error. Raises TaskError."""
    try:
        return Task.model_validate(fields)
    except ValidationError as error:
        raise _not_valid(error.errors(), source) from None


def _not_valid(errors: Sequence[Any], source: str, section: str = "") -> TaskError:
    problems = [f"{'.'.join(filter(None, (section, _field(one))))}: {_sentence(one)}" for one in errors]
    return TaskError(f"{source}: not a valid task file\n" + "\n".join(f"  - {p}" for p in problems))


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


def _with_parents(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return a task file and those that it extends, the nearest first, each with its own fields."""
    chain: list[tuple[Path, dict[str, Any]]] = []
    while True:
        if path in [seen for seen, _ in chain] or len(chain) > MAX_PARENTS:
            raise TaskError(
                f"{path}: extends forms a cycle, or has more than {MAX_PARENTS} steps; remove one of the entries"
            )
        fields = read_yaml(path)
        if not isinstance(fields, dict):
            raise TaskError(f"{path}: found {type(fields).__name__}; expected fields such as 'name:' and 'structures:'")
        chain.append((path, fields))
        parent = fields.pop("extends", None)
        if parent is None:
            return chain
        path = _find(str(parent), beside=path.parent)


def _stated_in(section: str, chain: Sequence[tuple[Path, dict[str, Any]]]) -> StatedIn:
    """Return which of a task file and those that it extends, the nearest first, states a section."""
    names = [path.stem if path.parent == FOLDER else path.name for path, _ in chain]
    at = next((at for at, (_, fields) in enumerate(chain) if section in fields), 0)
    return StatedIn(names[0], names[at] if at else "")


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
    return ".".join(str(part) for part in problem["loc"] if part not in FORMS) or "task"


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
