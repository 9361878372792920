"""`--results parquet` without Ray: the rows are those of an ordinary run, exactly once, whatever happened before."""

import csv
import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import inference
from sonoseg.__main__ import main as sonoseg
from sonoseg.archive import process, rows
from sonoseg.archive.inputs import Unit
from sonoseg.archive.run import _remove_unfinished, fingerprint_of
from sonoseg.archive.table import read_about
from sonoseg.errors import DataError, ModelError
from sonoseg.inference import segmenter
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Loop, Source
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.io.tables import unescape_cell
from sonoseg.models.engines.choose import EngineOptions
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import read_header
from sonoseg.models.registry import registered_model
from sonoseg.runs.lock import locked
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.dicom_files import real_dicom, write_dicom, write_video
from tests.models.members import always_load, member

Run = Callable[..., pd.DataFrame]


def bright_is_head(images: torch.Tensor) -> torch.Tensor:
    return torch.stack([images[:, 0] <= 0.5, images[:, 0] > 0.5], dim=1).float() * 8


def picture(seed: int) -> np.ndarray:
    """A bright ellipse on dark noise `(H, W)` uint8, another for every seed; of some seeds without the ellipse."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 40, (60, 90), dtype=np.uint8)
    if seed % 5:
        cv2.ellipse(pixels, (45 + seed % 7, 30), (25, 15 + seed % 5), seed, 0, 360, 220, -1)
    return pixels


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of single pictures, a TIFF of pages, a loop, a DICOM file, and files that fail."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(12):
        Image.fromarray(picture(index)).save(folder / f"i{index:02d}.png")
    pages = [Image.fromarray(picture(seed)) for seed in (3, 4)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    Image.fromarray(picture(7)).save(folder / "i00.bmp")  # the same stem as another
    write_video(folder / "loop.mp4", np.stack([np.pad(picture(seed), 2) for seed in range(6)]), rate=20)
    write_dicom(folder / "scan.dcm", picture(8))
    Image.fromarray(np.full((60, 90), 7, np.uint8)).save(folder / "plain.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "i01.gif").write_bytes(b"GIF89a")
    shutil.copy(real_dicom("reportsi.dcm"), folder)  # no image: left out, and counted
    return folder


@pytest.fixture
def run(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, fetal_head: Task) -> Run:
    """Return a function that runs stage 4 into `out` and returns its table, sorted."""
    task = changed(fetal_head, input={"size": (64, 96)})

    def run(*flags: str, model: str = "m" * 64, code: int = 1, shard: int = 4) -> pd.DataFrame:
        always_load(monkeypatch, member(bright_is_head, task, "model", model))
        folders = ["--images", str(images), "--output", str(tmp_path / "out")]
        more = ["--results", "parquet", "--shard-images", str(shard), "--jobs", "2"]
        assert inference.main(["--task", "fetal_head", *folders, *more, *flags]) == code
        assert sonoseg(["verify", str(tmp_path / "out")]) == 0
        return table(tmp_path / "out")

    return run


def table(out: Path) -> pd.DataFrame:
    frame = pd.read_parquet(out / "shards")
    return frame.sort_values(["image", "region", "kind", "frame"], ignore_index=True)


def ordinary(images: Path, out: Path) -> list[dict[str, str]]:
    folders = ["--images", str(images), "--output", str(out)]
    assert inference.main(["--task", "fetal_head", "--spacing", "0.2", *folders]) == 1
    with (out / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without(files: dict[str, bytes], names: tuple[str, ...]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name not in names}


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes of the images that were segmented since the list was last emptied."""
    seen: list[tuple[int, int]] = []
    real = Segmenter.__call__

    def noted(self: Segmenter, image: np.ndarray, *more: object) -> object:
        seen.append(image.shape[:2])
        return real(self, image, *more)

    monkeypatch.setattr(Segmenter, "__call__", noted)
    return seen


def test_the_rows_are_those_of_an_ordinary_run(run: Run, tmp_path: Path, images: Path) -> None:
    found = run("--spacing", "0.2")
    plain = ordinary(images, tmp_path / "plain")
    assert len(found) == len(plain) + 6 and set(found["kind"]) == {"image", "frame", "loop"}
    single = found[found["kind"] != "frame"]
    for expected in plain:
        frame = single["frame"].isna() if not expected["frame"] else single["frame"] == float(expected["frame"])
        rows_here = single[(single["image"] == expected["image"]) & frame]
        assert len(rows_here) == 1
        row = rows_here.iloc[0]
        for column in [name for name in expected if name not in ("name", "frame")]:
            if expected[column] == "":
                assert pd.isna(row[column]) or row[column] == "", (expected["image"], column)
            elif isinstance(row[column], str):
                assert row[column] == unescape_cell(expected[column]), (expected["image"], column)
            else:
                assert float(row[column]) == float(expected[column]), (expected["image"], column)
        if expected["status"] != "failed":
            record = json.loads((tmp_path / "plain" / f"{expected['name']}.json").read_text())
            assert json.loads(row["shapes"]) == record.get("shapes", [])
            assert row["image_sha256"] == record["made_from"]["image_sha256"]
    frames = found[found["kind"] == "frame"]
    with (tmp_path / "plain" / "loop_frames.csv").open(newline="") as stream:
        for expected, (_, row) in zip(csv.DictReader(stream), frames.iterrows(), strict=True):
            assert (row["frame"], row["status"], row["chosen"]) == (
                int(expected["frame"]), expected["status"], expected["chosen"] == "1",
            )  # fmt: skip
            assert row["time_s"] == float(expected["time_s"]) and row["reason"] == expected["reason"]
            assert str(row["hc_mm"] if pd.notna(row["hc_mm"]) else "") == expected["hc_mm"]
    assert sonoseg(["export-masks", str(tmp_path / "out"), str(tmp_path / "masks")]) == 0
    masks = files(tmp_path / "masks")
    expected_masks = {
        name: data for name, data in files(tmp_path / "plain").items() if name.endswith(("_mask.png", ".tif"))
    }
    assert masks == expected_masks and "loop_masks.tif" in masks and "i00_bmp_mask.png" in masks
    counts = json.loads((tmp_path / "out" / "run.json").read_text())["counts"]
    assert counts["inputs"] == sum(counts[status] for status in ("ok", "check", "reject", "failed")) == len(found) - 1
    assert (counts["failed"], counts["loops"], counts["without_image"]) == (3, 1, 1)
    assert counts["files"] == len(list(images.iterdir()))
    overlays = set(found["overlay"].dropna())
    assert {path for path in files(tmp_path / "out") if path.endswith("_overlay.png")} == overlays
    pictures = found[found["kind"] != "loop"]
    assert (pictures["overlay"].notna() == pictures["status"].isin(["check", "reject"])).all()
    plain_overlays = {data for name, data in files(tmp_path / "plain").items() if name.endswith("_overlay.png")}
    stills = set(single["overlay"].dropna())
    assert {(tmp_path / "out" / path).read_bytes() for path in stills} <= plain_overlays and stills


def test_the_bytes_do_not_depend_on_the_number_of_threads(run: Run, tmp_path: Path) -> None:
    run()
    before = files(tmp_path / "out" / "shards")
    shutil.rmtree(tmp_path / "out")
    run("--jobs", "1")
    assert files(tmp_path / "out" / "shards") == before and len(before) > 2


def test_an_interrupted_run_ends_with_the_rows_of_an_undisturbed_one(
    run: Run, tmp_path: Path, segmented: list, capsys: pytest.CaptureFixture
) -> None:
    run()
    before, total = files(tmp_path / "out"), len(segmented)
    segmented.clear()
    run()
    same = ("run.json", "stage4.sha256")  # with the time that it took, and the digest of that
    assert not segmented and without(files(tmp_path / "out"), same) == without(before, same)
    assert (
        "reused from an earlier run with this model and these settings; 0 images made anew" in capsys.readouterr().out
    )
    shards = sorted((tmp_path / "out" / "shards").iterdir())
    for name in ("run.json", "stage4.sha256"):
        (tmp_path / "out" / name).unlink()
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-7])  # a disk that has lost the end
    left = tmp_path / "out" / "shards" / ".shard-0123456789abcdef.parquet.abcd1234.tmp"
    left.write_bytes(b"what a killed process left")
    os.utime(left, (1, 1))
    run()
    assert 0 < len(segmented) < total
    assert without(files(tmp_path / "out"), same) == without(before, same)
    assert not left.exists()


def test_a_file_that_another_process_is_writing_stays(tmp_path: Path) -> None:
    file = tmp_path / "shards" / ".shard-0123456789abcdef.parquet.abcd1234.tmp"
    file.parent.mkdir()
    with locked(tmp_path):
        file.write_bytes(b"of a process of this run")
        _remove_unfinished(tmp_path / "shards")
        assert file.exists()
        os.utime(file, (1, 1))
        _remove_unfinished(tmp_path / "shards")
        assert not file.exists()


def test_a_table_of_other_files_under_the_name_of_a_shard_is_made_anew(run: Run, tmp_path: Path) -> None:
    run()
    before = files(tmp_path / "out" / "shards")
    first, second, *_ = sorted((tmp_path / "out" / "shards").iterdir())
    shutil.copy(first, second)  # restored from a copy, under a wrong name
    assert sonoseg(["verify", str(tmp_path / "out")]) != 0
    run()
    assert files(tmp_path / "out" / "shards") == before


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_shard_that_cannot_be_completed_is_not_there(
    step: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a kill, in the middle of writing: no table has its name before it is complete."""
    real = getattr(os, step)

    def fails(*arguments: Any) -> Any:
        file = arguments[0] if step == "replace" else os.readlink(f"/proc/self/fd/{arguments[0]}")
        if "shard-" in str(file):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fails)
        with pytest.raises(KeyError):  # there is no table to read
            run(code=2)
    assert not list((tmp_path / "out" / "shards").glob("*.parquet"))
    assert not list((tmp_path / "out" / "shards").glob(".*"))
    assert run()["image"].nunique() > 10


def test_a_loop_that_changes_while_it_is_read_is_failed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = process.digest_of_file

    def changed_after(path: Path, *more: Any) -> Any:
        found = real(path, *more)
        with path.open("ab") as stream:
            stream.write(b"more")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(process, "digest_of_file", changed_after)
        found = run()
    rows_of_loop = found[found["image"] == "loop.mp4"]
    assert (
        list(rows_of_loop["status"]) == ["failed"] and "has changed while it was read" in rows_of_loop["reason"].iloc[0]
    )
    assert (run()["kind"] == "loop").sum() == 1


def test_a_list_that_repeats_itself_has_each_shard_once(run: Run, tmp_path: Path, images: Path) -> None:
    names = [f"i{index:02d}.png" for index in range(12)]
    (images / "list.txt").write_text("\n".join(names * 2))
    found = run("--images", str(images / "list.txt"), code=0)
    counts = json.loads((tmp_path / "out" / "run.json").read_text())["counts"]
    assert counts["inputs"] == len(found)


def test_changed_inputs_change_their_own_shards(run: Run, tmp_path: Path, images: Path, segmented: list) -> None:
    run()
    before, total = files(tmp_path / "out" / "shards"), len(segmented)
    Image.fromarray(picture(99)).save(images / "i05.png")
    (images / "i11.png").unlink()
    segmented.clear()
    found = run()
    after = files(tmp_path / "out" / "shards")
    assert 0 < len(segmented) < total and before.keys() & after.keys()
    assert all(after[name] == before[name] for name in before.keys() & after.keys())
    assert "i11.png" not in set(found["image"]) and not found.duplicated(["image", "region", "kind", "frame"]).any()


def test_another_model_replaces_all_at_the_end_only(
    run: Run, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    before = files(tmp_path / "out" / "shards")
    real, made = process.from_file, []

    def interrupted(path: Path, *more: object) -> object:
        made.append(path)
        if len(made) > 12:
            raise KeyboardInterrupt
        return real(path, *more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(process, "from_file", interrupted)
        with pytest.raises(AssertionError):
            run("--jobs", "1", model="n" * 64, code=130)
    halfway = files(tmp_path / "out" / "shards")
    assert before.items() <= halfway.items() and len(halfway) > len(before)  # nothing is lost by a wrong --model
    assert not (tmp_path / "out" / "run.json").exists()
    run(model="n" * 64)
    after = files(tmp_path / "out" / "shards")
    assert not before.keys() & after.keys() and (halfway.keys() - before.keys()) <= after.keys()
    assert {read_about(path)["model_sha256"] for path in (tmp_path / "out" / "shards").iterdir()} == {"n" * 64}
    shards = {path.name for path in (tmp_path / "out" / "overlays").iterdir()}
    assert shards <= {name.removeprefix("shard-").removesuffix(".parquet") for name in after}


def test_overlays_of_all_images_or_of_none(run: Run, tmp_path: Path) -> None:
    found = run("--overlays", "all")
    made = found[(found["kind"] != "loop") & (found["status"] != "failed")]
    assert made["overlay"].notna().all()
    assert found_overlays(tmp_path) == len(made)
    run("--overlays", "none")
    assert found_overlays(tmp_path) == 0


def found_overlays(root: Path) -> int:
    return sum(name.endswith(".png") for name in files(root / "out"))


def test_a_frame_that_failed_has_its_own_name(tmp_path: Path) -> None:
    source = Source(ImageRef(tmp_path / "loop.dcm"), "loop", loop=Loop((60, 90), 9, None))
    writer = rows.FileRows(Unit("loop.dcm", 1, 1), Mock(), tmp_path, "00000", of_dicom=True)
    _, row = writer._frame(source, 7, DataError("cut short"), "digest")
    assert (row["name"], row["frame"], row["status"]) == ("loop_frame0007", 7, "failed")


def test_failed_images_are_tried_again_on_request(run: Run, images: Path, segmented: list) -> None:
    run()
    segmented.clear()
    run()
    assert not segmented
    run("--retry-failed")
    assert segmented
    for name in ("plain.png", "broken.png", "i01.gif"):
        (images / name).unlink()
    assert not (run(code=0)["status"] == "failed").any()


def test_sub_folders_and_a_list_give_the_same_rows(run: Run, tmp_path: Path, images: Path) -> None:
    (images / "sub").mkdir()
    for name in ("i02.png", "loop.mp4"):
        (images / name).rename(images / "sub" / name)
    found = run()
    assert {"sub/i02.png", "sub/loop.mp4"} <= set(found["image"])
    assert sonoseg(["export-masks", str(tmp_path / "out"), str(tmp_path / "masks")]) == 0
    assert (tmp_path / "masks" / "sub" / "i02_mask.png").is_file()
    names = [path.relative_to(images).as_posix() for path in sorted(images.rglob("*")) if path.is_file()]
    (images / "list.txt").write_text("\n".join(names))
    listed = run("--images", str(images / "list.txt"), "--output", str(tmp_path / "out"))
    assert listed.equals(found)


def test_paths_of_a_list_do_not_lead_out_of_the_target(run: Run, tmp_path: Path, images: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a.txt").write_text(f"../in/i02.png\n{images / 'i03.png'}\n../in/../in/missing.png\n")
    found = run("--images", str(tmp_path / "lists" / "a.txt"))
    assert sorted(found["status"]) == ["check", "check", "failed"] or (found["status"] == "failed").sum() == 1
    assert sonoseg(["export-masks", str(tmp_path / "out"), str(tmp_path / "masks")]) == 0
    masks = {path.name for path in (tmp_path / "masks").rglob("*.png")}
    assert masks == {"i02_mask.png", "i03_mask.png"}


def test_an_error_of_the_machine_is_no_failed_image(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    real, often = rows.read_image, []

    def short(*arguments: object) -> object:
        if "i04" in str(arguments[0]) and len(often) < most:
            often.append(1)
            raise MemoryError
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rows, "read_image", short)
    most = 1
    assert "memory" not in " ".join(run()["reason"].dropna())  # processed once more, alone
    shutil.rmtree(tmp_path / "out")
    often.clear()
    most = 2
    with pytest.raises(AssertionError):
        run(code=2)
    assert (
        not (tmp_path / "out" / "run.json").exists() and "i04.png: the memory is exhausted" in capsys.readouterr().err
    )
    assert "memory" not in " ".join(run()["reason"].dropna())


def test_a_drive_that_is_gone_ends_the_run(
    run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    real = process.process_shard
    calls = []

    def gone(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            images.rename(tmp_path / "unmounted")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("sonoseg.archive.run.process_shard", gone)
    with pytest.raises(AssertionError):
        run(code=2, shard=6)
    assert "no longer there; check the drive" in capsys.readouterr().err
    (tmp_path / "unmounted").rename(images)
    assert (run(shard=6)["status"] == "failed").sum() == 3


WRONG = {
    "no images": (["--results", "parquet"], "needs --images"),
    "watch": (["--results", "parquet", "--images", "{in}", "--watch"], "--watch: only with --results files"),
    "files on Ray": (["--results", "files", "--ray", "local", "--images", "{in}"], "not --results files"),
    "overlays": (["--overlays", "all", "--images", "{in}"], "--overlays needs --results parquet"),
    "GPUs": (["--results", "parquet", "--images", "{in}", "--gpus-per-actor", "1"], "--gpus-per-actor needs --ray"),
    "GPUs of files": (["--images", "{in}", "--gpus-per-actor", "1"], "--gpus-per-actor needs --ray"),
    "no GPU here": (
        ["--ray", "local", "--images", "{in}", "--gpus-per-actor", "1"],
        "is available on this machine; omit",
    ),
    "a device": (["--ray", "local", "--images", "{in}", "--device", "cuda"], "each actor needs a part of a GPU"),
    "below the images": (["--results", "parquet", "--images", "{in}", "--output", "{in}/out"], "lies below the images"),
    "a list without parquet": (["--images", "{in}/i02.png"], "is a file; --images names the folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_flags_that_do_not_go_together(case: str, images: Path, monkeypatch, fetal_head: Task, capsys) -> None:
    always_load(monkeypatch, member(bright_is_head, fetal_head, "model", "m" * 64))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    flags, message = WRONG[case]
    assert inference.main(["--task", "fetal_head", *(flag.replace("{in}", str(images)) for flag in flags)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_driver_names_what_decides_the_results_of_its_processes(device: str, monkeypatch) -> None:
    """Without the network: loaded on the same device in a process, the model has the same fingerprint there."""
    entry = registered_model("spine_realtime")
    assert entry
    models = [read_header(entry.path)]
    driver = Segmenter.from_models(models, EngineOptions("torch", device, 1, elsewhere=True))
    load, arguments = driver.__reduce__()
    network = load_network(models[0])
    monkeypatch.setattr("sonoseg.models.model_file.load_network", lambda *_: network)  # on no GPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(segmenter, "_has_driver", lambda: True)
    worker = load(*arguments)
    found = [fingerprint_of(each, DEFAULT_LIMITS, False, "review") for each in (driver, worker)]
    assert found[0] == found[1] and worker.device == device
    if device == "cpu":
        assert worker.probabilities(picture(1)).shape == (4, 60, 90)
    with pytest.raises(ModelError, match="it was not loaded in this process"):
        driver.probabilities(picture(1))


def test_the_two_kinds_of_results_keep_to_their_folders(run: Run, tmp_path: Path, images: Path, capsys) -> None:
    run()
    ordinary(images, tmp_path / "plain")
    flags = ["--task", "fetal_head", "--images", str(images)]
    assert inference.main([*flags, "--results", "parquet", "--output", str(tmp_path / "plain")]) == 2
    assert "has the results of a run that wrote results.csv" in capsys.readouterr().err
    assert inference.main([*flags, "--output", str(tmp_path / "out")]) == 2
    assert "has the results of --results parquet" in capsys.readouterr().err
    assert sonoseg(["export-masks", str(tmp_path / "plain"), str(tmp_path / "m")]) == 2
    assert "no results of a run over an archive" in capsys.readouterr().err
    assert sonoseg(["export-masks", str(tmp_path / "out"), str(tmp_path / "plain")]) == 2
    assert "is no empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(("missing", "flags"), [("pyarrow", ["--results", "parquet"]), ("ray", ["--ray", "local"])])
def test_a_missing_library_is_named(
    missing: str, flags: list[str], images: Path, monkeypatch, fetal_head, capsys
) -> None:
    always_load(monkeypatch, member(bright_is_head, fetal_head, "model", "m" * 64))
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    out = images.parent / "out"
    assert inference.main(["--task", "fetal_head", "--images", str(images), "--output", str(out), *flags]) == 2
    error = capsys.readouterr().err
    assert f"pip install 'sonoseg[{'parquet' if missing == 'pyarrow' else 'ray'}]'" in error and error.count("\n") == 1
