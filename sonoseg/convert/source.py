"""The folder that is converted: how its annotations are read, and which classes they have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError
from sonoseg.new_task.findings import look_at, recognised_section
from sonoseg.schema.annotation_formats import LabelledFormat, section_of
from sonoseg.schema.annotations import Structure
from sonoseg.schema.task import Task


@dataclass(frozen=True)
class AnnotatedFolder:
    """A data folder as stage 1 takes it.

    section: `annotations` of a task. table: name of the metadata table below the folder, which may be missing; None
    without one. reason: why it is read so.
    """

    folder: Path
    section: Any
    structures: Sequence[Structure]
    table: str | None
    reason: str


def annotated_folder(folder: Path, task: Task | None, only: str | None = None) -> AnnotatedFolder:
    """Return how a folder is read: as the task says, or as it is recognised.

    task: None: layout and classes are recognised, see `new_task.findings.look_at`. only: the annotation format that is
    read; where the task's is another one, the layout is recognised, and classes and labels are those of the task.

    Images that nobody has annotated are left out unless the task's own section says otherwise. Raises DataError when
    the folder is missing or nothing is recognised in it.
    """
    if not folder.is_dir():
        raise DataError("no such folder; expected a folder of images and annotations, as stage 1 takes it", folder)
    if task is None:
        findings = look_at(folder, only)
        structures = [found.structure() for found in findings.structures]
        table = findings.table.file if findings.table else None
        return AnnotatedFolder(
            folder, _lenient(findings.section), structures, table, f"recognised: {findings.layout.reason}"
        )
    if only in (None, task.annotations.format):
        reason = f"read as {task.annotations.format}, as task {task.name} says"
        return AnnotatedFolder(folder, task.annotations, task.structures, task.metadata.file, reason)
    section, why = recognised_section(folder, task, only)
    return AnnotatedFolder(folder, section, task.structures, task.metadata.file, f"recognised: {why}")


def _lenient(fields: Mapping[str, Any]) -> Any:
    """Return a recognised section, by which images that may not have been annotated are left out."""
    section = section_of(fields)
    if isinstance(section, LabelledFormat) and section.without_annotation is None:
        return section.model_copy(update={"without_annotation": "leave_out"})
    return section
