"""The folder that is converted: how its annotations are read, and which classes they have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError
from sonoseg.new_task.findings import look_at, recognised_section
from sonoseg.prepare.duplicates.selection import excluded_names
from sonoseg.schema.annotation_formats import LabelledFormat, section_of
from sonoseg.schema.annotations import Structure
from sonoseg.schema.drafts import Draft
from sonoseg.schema.task_files import task_of


@dataclass(frozen=True)
class AnnotatedFolder:
    """A data folder as stage 1 takes it.

    section: `annotations` of a task. excluded: names of images that the task leaves out. table: name of the metadata
    table below the folder, which may be missing; None without one. reason: why it is read so.
    """

    folder: Path
    section: Any
    structures: Sequence[Structure]
    table: str | None
    reason: str
    excluded: Sequence[str] = ()


def annotated_folder(folder: Path, draft: Draft | None, only: str | None = None) -> AnnotatedFolder:
    """Return how a folder is read: as the task says, or as it is recognised.

    draft: of the task; None: layout and classes are recognised, see `new_task.findings.look_at`. only: the annotation
    format that is read; where the task's is another one, the layout is recognised, and classes and labels are those of
    the task.

    Images that nobody has annotated are left out unless the task's own section says otherwise. Raises DataError when
    the folder, or the list of images that the task excludes, is missing, or nothing is recognised in the folder.
    """
    if not folder.is_dir():
        raise DataError("no such folder; expected a folder of images and annotations, as stage 1 takes it", folder)
    if draft is None:
        findings = look_at(folder, only)
        structures = [found.structure() for found in findings.structures]
        table = findings.table.file if findings.table else None
        return AnnotatedFolder(
            folder, _lenient(findings.section), structures, table, f"recognised: {findings.layout.reason}"
        )
    task, excluded = task_of(draft), excluded_names(draft.exclude, folder)
    section, reason = task.annotations, f"read as {task.annotations.format}, as task {task.name} says"
    if only not in (None, task.annotations.format):
        section, why = recognised_section(folder, task, only)
        reason = f"recognised: {why}"
    return AnnotatedFolder(folder, section, task.structures, task.metadata.file, reason, excluded)


def _lenient(fields: Mapping[str, Any]) -> Any:
    """Return a recognised section, by which images that may not have been annotated are left out."""
    section = section_of(fields)
    if isinstance(section, LabelledFormat) and section.without_annotation is None:
        return section.model_copy(update={"without_annotation": "leave_out"})
    return section
