"""Thousands of damaged inputs: each is accepted, or refused with a SonoSegError. `make fuzz`.

    python -m stress.fuzz [--inputs 20000] [--seed 0] [--keep DIR]

Task files, annotations and tables are drawn by Hypothesis: valid files with parts replaced. Images are valid files with
bytes changed, removed and repeated; DICOM files and videos: see `fuzz_images`. YAML tokens and command lines: see
`fuzz_text`; models, checkpoints and converted networks: `fuzz_models`. An input that raises another exception is kept
in DIR, to become a test.
"""

import argparse
import io
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from rich.progress import Progress

from sonoseg.annotations import FORMATS
from sonoseg.io.faults import FaultsError
from sonoseg.io.masks import read_mask
from sonoseg.io.png import write_image
from sonoseg.io.readers import read_image, read_image_header
from sonoseg.prepare.metadata import read_metadata
from sonoseg.prepare.rasterize import label_map
from sonoseg.prepare.shape_checks import check_shapes
from sonoseg.runs.command_line import SEED, number_type, run_guarded
from sonoseg.schema.task_files import FOLDER, available_tasks, load_task
from stress.damage import damaged
from stress.findings import Findings
from stress.fuzz_images import IMAGE_KINDS
from stress.fuzz_models import MODEL_KINDS
from stress.fuzz_text import TEXT_KINDS

SIZE = (40, 60)
"""(height, width) of the annotated image."""

SHARES = {
    "task file": 0.15,
    "task tokens": 0.1,
    "command line": 0.1,
    "annotations": 0.12,
    "metadata": 0.12,
    "picture": 0.16,
    "image file": 0.05,
    "model header": 0.08,
    "checkpoint": 0.08,
    "engine folder": 0.04,
}

read_annotations = FORMATS["shapes_json"].read

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("../../etc/passwd"),
    st.lists(st.floats(), max_size=4), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)  # fmt: skip


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """Return `value` with up to three of its parts, however deep, replaced, removed or doubled."""
    result = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(result))
        holder, key = draw(st.sampled_from(places))
        action = draw(st.sampled_from(["replace", "remove", "double"]))
        if action == "replace":
            holder[key] = draw(ODD)
        elif action == "remove":
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, holder[key])
        else:
            holder[draw(st.text(max_size=5))] = holder[key]
        if not list(_places(result)):
            break
    return result


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(items):
        yield value, key
        yield from _places(part)


def examples(strategy: st.SearchStrategy[Any], count: int, number: int, work: Callable[[Any], None]) -> None:
    """Call `work` with `count` examples of a strategy, the same ones for the same `number`."""

    @seed(number)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def run(value: Any) -> None:
        work(value)

    run()


def fuzz_tasks(count: int, number: int, folder: Path, findings: Findings, advance: Callable[[], None]) -> None:
    valid = [yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")) for name in available_tasks()]
    path = folder / "task.yaml"

    def try_fields(fields: Any) -> None:
        path.write_text(yaml.safe_dump(fields, allow_unicode=True), encoding="utf-8")
        findings.note("task file", lambda: load_task(path), path.read_bytes)
        advance()

    examples(st.sampled_from(valid).flatmap(changed), count, number, try_fields)


def fuzz_annotations(count: int, number: int, folder: Path, findings: Findings, advance: Callable[[], None]) -> None:
    task = load_task("spine")
    write_image(folder / "images" / "a.png", np.zeros(SIZE, np.uint8))
    valid = {"a": [["MID", "line", [[3, 4], [30, 34]]], ["VTB", "rect", [[5, 5], [20, 20]]]], "a.png": []}
    path = folder / "annotations.json"

    def read() -> None:
        items, faults = read_annotations(folder, task.annotations, task.structures)
        for item in items:
            shape_faults = check_shapes(item.shapes, SIZE, item.id, item.id)
            faults += shape_faults
            if not any(fault.level == "error" for fault in shape_faults):
                label_map([shape for _, shape in item.shapes], SIZE, task.structures)
        if any(fault.level == "error" for fault in faults):
            raise FaultsError("refused", faults)

    def try_fields(fields: Any) -> None:
        path.write_text(json.dumps(fields), encoding="utf-8")
        findings.note("annotations", read, path.read_bytes)
        advance()

    examples(changed(valid), count, number, try_fields)


def fuzz_metadata(count: int, number: int, folder: Path, findings: Findings, advance: Callable[[], None]) -> None:
    task = load_task("spine")
    cell = st.one_of(
        st.text(max_size=12), st.sampled_from(["image", "row_mm", "001", "NA", "0,2", "1e999", '"', "\ufeff"])
    )
    row = st.lists(cell, min_size=1, max_size=6)
    table = st.tuples(st.sampled_from([",", ";", "\t", "|"]), st.lists(row, max_size=6), st.booleans())
    path = folder / "metadata.csv"

    def try_table(drawn: Any) -> None:
        delimiter, rows, headed = drawn
        lines = [["image", "patient", "row_mm", "col_mm"]] * headed + rows
        text = "\n".join(delimiter.join(cells) for cells in lines)
        path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
        findings.note("metadata", lambda: read_metadata(path, task.metadata, task.patients), path.read_bytes)
        advance()

    examples(table, count, number, try_table)


def fuzz_pictures(count: int, number: int, folder: Path, findings: Findings, advance: Callable[[], None]) -> None:
    rng = random.Random(number)
    sources = list(valid_pictures())
    for _ in range(count):
        suffix, data = rng.choice(sources)
        path = folder / f"picture{suffix}"
        path.write_bytes(damaged(data, rng))
        readers: list[Callable[[Path], object]] = [read_image, read_mask, read_image_header]
        work = rng.choice(readers)
        findings.note("picture", partial(work, path), path.read_bytes)
        advance()


def valid_pictures() -> Iterator[tuple[str, bytes]]:
    """Yield (suffix, bytes) of small pictures in every mode and compression that the reader is given."""
    grey = Image.fromarray((np.indices((23, 31)).sum(axis=0) * 4 % 256).astype(np.uint8))
    deep = Image.fromarray((np.indices((23, 31)).sum(axis=0) * 997 % 65536).astype(np.uint16))
    for mode, suffixes in (
        ("L", (".png", ".jpg", ".tif", ".bmp")), ("1", (".png", ".tif")), ("P", (".png", ".bmp")),
        ("RGB", (".png", ".jpg", ".tif", ".bmp")), ("RGBA", (".png", ".tif")), ("CMYK", (".jpg", ".tif")),
        ("LA", (".png",)),
    ):  # fmt: skip
        for suffix in suffixes:
            yield suffix, _encoded(grey.convert(mode), suffix)
    yield ".png", _encoded(deep, ".png")
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        yield ".tif", _encoded(grey, ".tif", compression=compression)
    yield ".tif", _encoded(deep, ".tif", compression="tiff_adobe_deflate")
    exif = Image.Exif()
    exif[0x0112] = 6
    yield ".jpg", _encoded(grey, ".jpg", exif=exif)


def _encoded(picture: Image.Image, suffix: str, **more: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper()), **more)
    return stream.getvalue()


KINDS = {
    "task file": fuzz_tasks,
    "annotations": fuzz_annotations,
    "metadata": fuzz_metadata,
    "picture": fuzz_pictures,
    **IMAGE_KINDS,
    **TEXT_KINDS,
    **MODEL_KINDS,
}


def fuzz(inputs: int, number: int, keep: Path) -> Findings:
    """Try `inputs` inputs, the same ones for the same `number`, and return their results."""
    findings = Findings(keep)
    with tempfile.TemporaryDirectory() as folder, Progress() as bar:
        for kind, share in SHARES.items():
            count = round(inputs * share)
            work = bar.add_task(kind, total=count)
            KINDS[kind](count, number, Path(folder), findings, partial(bar.advance, work))
    return findings


def run_fuzz(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stress.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=number_type(int, 10, 10**9), default=20_000, help="how many inputs in all")
    parser.add_argument("--seed", type=SEED, default=0, help="same seed, same inputs")
    parser.add_argument("--keep", type=Path, default=Path("fuzz_faults"), help="where inputs that are faults are kept")
    arguments = parser.parse_args(argv)
    findings = fuzz(arguments.inputs, arguments.seed, arguments.keep)
    for (kind, end), count in sorted(findings.counts.items()):
        print(f"{kind:13} {end:8} {count}")
    for fault in findings.faults[:20]:
        print(fault)
    print(f"{sum(findings.counts.values())} inputs, {len(findings.faults)} faults")
    return 1 if findings.faults else 0


if __name__ == "__main__":
    sys.exit(run_guarded(run_fuzz))
