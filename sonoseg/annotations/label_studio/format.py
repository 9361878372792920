"""Annotation format `label_studio`: the export `JSON` of Label Studio, a list of tasks, one per image."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from sonoseg.annotations.base import AnnotatedImage, Annotation
from sonoseg.annotations.label_studio.attributes import NO_SHAPES, unread_of
from sonoseg.annotations.label_studio.results import LABELLED, TO_NAME, read_result, size_of, write_result
from sonoseg.annotations.labelled import (
    Entry,
    ImageFinder,
    Labels,
    annotated_images,
    base_name,
    check_count,
    first_shapes,
    quoted,
    read_annotation_file,
)
from sonoseg.errors import DataError, choices
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault, error, warning
from sonoseg.io.files import write_bytes
from sonoseg.io.readers import is_image
from sonoseg.io.reading import parse_json
from sonoseg.schema.annotation_formats import LabelStudio
from sonoseg.schema.annotations import Structure

EXPORT = "export from Label Studio again, in the format JSON (not JSON-MIN)"


class LabelStudioFormat:
    written_as: ClassVar[Mapping[str, str]] = {"line": "a polygon one pixel wide"}
    states_empty: ClassVar[bool] = True
    mixed_kinds: ClassVar[bool] = True

    def read(
        self, data: Path, section: LabelStudio, structures: Sequence[Structure]
    ) -> tuple[list[AnnotatedImage], list[Fault]]:
        """Read polygons, rectangles, ellipses and brush strokes with labels; predictions are ignored.

        Of several annotations of an image the newest counts, with a warning; cancelled ones do not. One without a shape
        states that the image shows no structure; of a task without an annotation `section.without_annotation` decides.
        Faults: a task whose image is not there or occurs twice, a shape without a label or with several, of a type
        that covers no area, or that cannot be drawn, and an image that was turned in Label Studio. Raises DataError
        when the folder or the file is missing, or the file is no such list of tasks.
        """
        finder = ImageFinder(data, section)
        tasks = _Tasks(section.file, finder, Labels(section, structures))
        path = data / section.file
        for number, task in enumerate(_read_tasks(data, section.file)):
            tasks.take(number, task)
            check_count(tasks.faults, path, EXPORT)
        items, faults = annotated_images(tasks.entries, finder, section, data, tasks.unannotated)
        return items, [*finder.faults, *tasks.faults, *tasks.labels.faults(section.file), *faults]

    def write(self, data: Path, section: LabelStudio, annotations: Iterable[Annotation], sync: bool = True) -> None:
        """Write the file: regions as polygons, bitmaps as brush strokes, and each line as a polygon around it.

        A line is also written as it is, and read again while its polygon is unchanged. Coordinates are written in
        hundredths of a pixel. A bitmap without a pixel inside its image is left out. Raises ValueError for an
        annotation without a size.
        """
        labels, tasks = Labels(section, ()), []
        for number, item in enumerate(annotations, start=1):
            if item.size is None:
                raise ValueError(f"{item.image}: has no size, which this format stores")
            results = [write_result(shape, item.size, labels.label_of(shape.structure)) for shape in item.shapes]
            named = [{"id": f"shape{index}", **result} for index, result in enumerate(results) if result]
            task = {"id": number, "data": {TO_NAME: item.image}, "annotations": [{"result": named}]}
            tasks.append(json.dumps(task, ensure_ascii=False, allow_nan=False))
        text = "[\n" + ",\n".join(tasks) + "\n]\n"  # indented, each byte of a brush stroke would have its own line
        write_bytes(data / section.file, text.encode("utf-8"), sync)

    def image_files(self, section: LabelStudio, image: str) -> list[str]:
        return []

    def shared_files(self, section: LabelStudio) -> list[str]:
        return [section.file]

    def folders(self, section: LabelStudio) -> list[str]:
        return [section.images]

    def is_annotation(self, path: Path, section: LabelStudio) -> bool:
        return False


def _read_tasks(data: Path, name: str) -> list[Any]:
    """Return the tasks of the file, each checked later. Raises DataError when it is no list of tasks."""
    text, path = read_annotation_file(data, name), data / name
    try:
        tasks = parse_json(text.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as problem:
        raise DataError(f"not readable as JSON: {problem}; {EXPORT}", path) from None
    if not isinstance(tasks, list):
        raise DataError(f"expected a list of tasks; {EXPORT}", path)
    if tasks and not any(isinstance(task, dict) and {"data", "annotations"} <= task.keys() for task in tasks):
        raise DataError(f"no task with 'data' and 'annotations'; {EXPORT}", path)
    return tasks


class _Tasks:
    """What the tasks of a file say.

    entries: id of an image -> its shapes and its size. unannotated: ids of images whose task has no annotation. faults:
    those of labels excepted, which `labels` has.
    """

    def __init__(self, name: str, finder: ImageFinder, labels: Labels):
        """name: of the file, for messages."""
        self.labels = labels
        self.entries: dict[str, Entry] = {}
        self.unannotated: set[str] = set()
        self.faults: list[Fault] = []
        self._name, self._finder = name, finder

    def take(self, number: int, task: Any) -> None:
        """Take a task; `number` is its position in the file, from 0."""
        where = f"{self._name}, task at position {number}"
        if isinstance(task, dict) and isinstance(task.get("id"), int):
            where = f"{self._name}, task {quoted(task['id'])}"
        try:
            if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                raise ValueError(f"has no 'data'; {EXPORT}")
            done = _done(task.get("annotations"))
            results = _results(_newest(done)) if done else []
            name = _image_name(task["data"], results, self._finder)
        except ValueError as problem:
            self.faults.append(error(where, str(problem)))
            return
        image = self._finder.find(name)
        if image is None:
            if not self._finder.is_refused(name):
                message = f"its image {quoted(base_name(name))} is not in the folder of the images; put it there"
                self.faults.append(error(where, self._finder.problem(name, message), "no_image"))
        elif image in self.entries:
            self.faults.append(error(where, "a second task with the same image; keep one", "", image))
        elif not done:
            self.unannotated.add(image)
            self.entries[image] = Entry()
        else:
            if len(done) > 1:
                message = f"has {len(done)} annotations; the newest is used"
                self.faults.append(warning(where, message, "several_annotations", image))
            self.entries[image] = self._shapes(where, results, image)

    def _shapes(self, where: str, results: Sequence[Mapping[str, Any]], image: str) -> Entry:
        """Return the shapes of an image's results and the size that all of them state; faults are added."""
        shapes: list[tuple[int, Shape | Bitmap]] = []
        size, unlabelled = None, 0
        for index, result in enumerate(first_shapes(results, self.faults, where, image)):
            try:
                kind = result.get("type")
                if kind in NO_SHAPES:
                    continue
                labels = _labels(result)
                if kind in LABELLED and not labels:
                    unlabelled += 1
                    continue
                structure = self.labels.structure(labels[0]) if len(labels) == 1 else None
                if structure is None and len(labels) == 1:
                    continue
                if kind not in LABELLED:
                    tools = choices(list(LABELLED))
                    raise ValueError(f"its type is {quoted(kind)}, which is not read; draw it as {tools}")
                if structure is None:
                    raise ValueError(f"has {len(labels)} labels; a shape has one: draw it once for each")
                stated = size_of(result)
                size = size or stated
                if stated != size:
                    raise ValueError("states another size of its image than those before; annotate one image per task")
                shapes.append((index, read_result(result, stated, structure)))
            except ValueError as problem:
                self.faults.append(error(f"{where}, result {index}", str(problem), "shape", image))
        if unlabelled:
            message = f"{unlabelled} of its results have no label; give them one in Label Studio, and export again"
            self.faults.append(error(where, message, "shape", image))
        return Entry(tuple(shapes), size, unread_of(results, [index for index, _ in shapes]))


def _labels(result: Mapping[str, Any]) -> list[str]:
    """Return the labels of a result of any type: `value` has them under the name of the type."""
    kind, value = result.get("type"), result.get("value")
    if not isinstance(kind, str):
        raise ValueError(f"its type is {quoted(kind)}; {EXPORT}")
    if not isinstance(value, dict):
        raise ValueError(f"has no 'value'; {EXPORT}")
    labels = value.get(kind)
    if labels is None:
        return []
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"its {kind[:40]} are {quoted(labels)}; expected a list of one label")
    return labels


def _done(annotations: Any) -> list[dict[str, Any]]:
    """Return the annotations that were submitted."""
    if not isinstance(annotations, list) or not all(isinstance(each, dict) for each in annotations):
        raise ValueError(f"its 'annotations' are no list of objects; {EXPORT}")
    return [each for each in annotations if each.get("was_cancelled") is not True]


def _newest(annotations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the annotation that was changed last; the last one of the file where one of the times is unknown."""
    times = [_time(each.get("updated_at")) for each in annotations]
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        return annotations[-1]
    return annotations[max(range(len(known)), key=lambda index: (known[index], index))]


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    except (TypeError, ValueError):
        return None


def _results(annotation: Mapping[str, Any]) -> list[dict[str, Any]]:
    results = annotation.get("result")
    if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
        raise ValueError(f"its 'result' is no list of objects; {EXPORT}")
    return results


def _image_name(data: Mapping[str, Any], results: Sequence[Mapping[str, Any]], finder: ImageFinder) -> str:
    """Return the name of a task's image as `data` has it, of one in the folder if there is one.

    The key of `data` is often the name of the image's tag, which shapes have as `to_name`. Else the one value counts
    that is the name of an image in the folder. Raises ValueError for none, and for several.
    """
    tags = list({str(result.get("to_name")): None for result in results if result.get("type") not in NO_SHAPES})
    if len(tags) > 1:
        raise ValueError(f"its shapes are of {len(tags)} images ({quoted(tags)}); make a task of each image")
    named = data.get(tags[0]) if tags else None
    if isinstance(named, str) and finder.find(named) is not None:
        return named
    texts = [value for value in data.values() if isinstance(value, str)]
    # A text without the extension of an image, such as the number of a patient, may be the stem of another image.
    texts = [text for text in texts if is_image(Path(base_name(text)))] or texts
    if not texts:
        raise ValueError("its 'data' has no name of an image; make a task of each image")
    found = {image: text for text in texts if (image := finder.find(text)) is not None}
    if len(found) > 1:
        raise ValueError(f"its 'data' names {len(found)} images: {quoted(sorted(found))}; make a task of each image")
    return next(iter(found.values()), texts[0])
