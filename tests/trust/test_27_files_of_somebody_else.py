"""Check 27: files in an output folder that a stage has not written are neither overwritten nor removed."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

import image_preprocessing as stage2
import inference as stage4
import training as stage3
from sonoseg.__main__ import main as tool
from sonoseg.errors import DataError
from sonoseg.inference.process_image import InferenceRun, process_image
from sonoseg.inference.results import check_output_folder
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Source
from sonoseg.io.image_ref import ImageRef
from sonoseg.runs.lock import locked
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.annotation_formats import MaskFolder
from sonoseg.schema.task import Task
from sonoseg.types import Pixels
from tests.models.members import member
from tests.trust.conftest import Segmented, bright_network, everything
from tests.trust.runs import NAME, make, run

JOURNALS = (".stage1.writing", ".stage2.writing", ".stage3.writing", ".stage4.writing")
LISTS = ("stage1.sha256", "stage2.sha256", "stage3.sha256", "stage4.sha256")


@pytest.fixture
def images(tmp_path: Path, scene: Pixels) -> Path:
    """Five images to be segmented, in the layout of a dataset with masks."""
    folder = tmp_path / "data" / "training_set"
    folder.mkdir(parents=True)
    for name in "abcde":
        Image.fromarray(scene).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        *("c_mask.png", "c_overlay.png", "c.json", "results.csv", "run.json"),
        *("c_heatmap.png", "c_probability.png", "c_full_mask_HEAD.png"),
    ],
)
@pytest.mark.parametrize("kind", ["file", "link", "dangling", "folder"])
def test_stage_4_ends_before_its_work(
    name: str, kind: str, images: Path, segmented: Segmented, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "precious").write_text("of a person")
    make_entry: dict[str, Callable[[], object]] = {
        "file": lambda: (out / name).write_text("of a person"),
        "link": lambda: (out / name).symlink_to(tmp_path / "precious"),
        "dangling": lambda: (out / name).symlink_to(tmp_path / "nothing"),
        "folder": lambda: (out / name).mkdir(),
    }
    make_entry[kind]()
    before = everything(tmp_path)
    stages = ["--task", "fetal_head", "--images", str(images), "--output", str(out), "--heatmap", "--full-masks"]
    assert stage4.main(stages) == 2
    said = capsys.readouterr().err
    assert f"{out / name} exists and was not written by this stage" in said and "choose another output folder" in said
    assert everything(tmp_path) == before


@pytest.mark.parametrize("folder", ["training_set", "../data/training_set/", "link"])
def test_results_are_not_written_among_images(
    folder: str, images: Path, segmented: Segmented, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "link").symlink_to(images)
    before = everything(tmp_path)
    output = str(tmp_path / "data" / folder)
    assert stage4.main(["--task", "fetal_head", "--images", str(images), "--output", output]) == 2
    assert "results cannot be written among the images or annotations" in capsys.readouterr().err
    assert everything(tmp_path) == before


@pytest.mark.parametrize("given", [True, False], ids=["of the images", "of the task"])
def test_results_are_not_written_among_annotations(
    given: bool, images: Path, segmented: Segmented, bright: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section = bright.annotations
    root = tmp_path / "ours" if given else tmp_path / "Datasets" / "fetal_head"
    shutil.copytree(images, root / section.images)
    masks = root / section.masks
    masks.mkdir(exist_ok=True)
    (masks / "reference.png").write_bytes(b"a mask")
    before = everything(tmp_path)
    source = root / section.images if given else images
    arguments = ["--task", "fetal_head", "--images", str(source), "--output", str(masks), "--workspace", str(tmp_path)]
    assert stage4.main(arguments) == 2
    assert "results cannot be written among the images or annotations" in capsys.readouterr().err
    assert everything(tmp_path) == before


@pytest.mark.parametrize("given", ["data/images", None])
def test_masks_may_lie_in_a_folder_of_their_own(given: str | None, tmp_path: Path) -> None:
    section = MaskFolder(format="mask_folder", images="images", masks="masks")
    images = tmp_path / given if given else None
    for name in ("images", "masks"):
        with pytest.raises(DataError, match="among the images or annotations"):
            check_output_folder(tmp_path / "data" / name, images, tmp_path / ("other" if given else "data"), section)
    check_output_folder(tmp_path / "data" / "results", images, tmp_path / "data", section)


def test_a_failed_image_removes_its_own_results_only(
    images: Path, segmented: Segmented, tmp_path: Path, scene: Pixels
) -> None:
    out = tmp_path / "out"
    assert segmented(images, out)[0] == 0
    (out / "c_heatmap.png").write_text("of a person")
    (images / "c.png").write_bytes(b"damaged")
    code, rows = segmented(images, out)
    assert code == 1 and rows["c.png"]["status"] == "failed"
    assert [path.name for path in sorted(out.glob("c[._]*"))] == ["c_heatmap.png"]


def test_files_of_other_names_are_left_alone(images: Path, segmented: Segmented, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("note.txt", "f_mask.png", "f.json", ".a_mask.png.abcdefgh.tmp.txt", ".other.abcdefgh.tmp"):
        (out / name).write_text("of a person")
    before = everything(out)
    assert segmented(images, out)[0] == segmented(images, out)[0] == 0
    assert before.items() <= everything(out).items()


def test_a_watched_folder_fails_the_image_alone(bright: Task, images: Path, tmp_path: Path) -> None:
    """Watched images are claimed one by one, as they arrive."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "b_overlay.png").write_text("of a person")
    with locked(out), OutputFolder(out, "stage4") as output:
        run_ = InferenceRun(Segmenter([member(bright_network, bright, "model", "f" * 64)]), output)
        rows = [process_image(Source(ImageRef(images / f"{name}.png"), name), run_) for name in "abc"]
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert f"{out / 'b_overlay.png'} exists and was not written by this stage" in rows[1]["reason"]
    assert (out / "b_overlay.png").read_text() == "of a person" and not list(out.glob("b[._][!o]*"))


class Killed(BaseException):
    """Ends a run like SIGKILL does: nothing is tidied up."""


@pytest.mark.parametrize("writes", [1, 4, 8, 16])
@pytest.mark.parametrize("version", ["this", "earlier"])
def test_a_killed_run_is_continued(
    writes: int, version: str, images: Path, segmented: Segmented, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert segmented(images, tmp_path / "whole")[0] == 0
    out, replace, done = tmp_path / "out", os.replace, []

    def limited(source: str, target: str) -> None:
        if len(done) == writes:
            raise Killed
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", limited)
    with pytest.raises(Killed):
        stage4.main(["--task", "fetal_head", "--images", str(images), "--output", str(out), "--jobs", "1"])
    monkeypatch.setattr(os, "replace", replace)
    assert (out / ".stage4.writing").is_file()
    (out / ".a_mask.png.abcd_123.tmp").write_text("")
    os.utime(out / ".a_mask.png.abcd_123.tmp", (1, 1))
    if version == "earlier":
        (out / ".stage4.writing").unlink()
        if writes < 3:
            return  # it had no record yet, so that nothing tells whose its pictures are
    assert segmented(images, out)[0] == 0
    assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}
    assert all(
        (out / f"{name}{end}").read_bytes() == (tmp_path / "whole" / f"{name}{end}").read_bytes()
        for name in "abcde"
        for end in ("_mask.png", "_overlay.png")
    )


def test_results_without_a_list_are_recognised_by_their_records(
    images: Path, segmented: Segmented, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert segmented(images, out)[0] == 0
    for name in ("stage4.sha256", "run.json"):
        (out / name).unlink()
    assert segmented(images, out, "--spacing", "0.2")[0] == 0
    for name in ("stage4.sha256", "run.json"):
        (out / name).unlink()
    record = json.loads((out / "c.json").read_text())
    (out / "c.json").write_text(json.dumps({**record, "status": "corrected by a person"}))
    before = everything(out)
    assert segmented(images, out, "--spacing", "0.3")[0] == 2
    assert "c" in capsys.readouterr().err and everything(out) == before


def test_stage_1_keeps_masks_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import train_test_data_preparation as stage1

    root = make(tmp_path)
    split = root / "Train_Test_Dataset" / NAME
    image = sorted((root / "spine" / "images").iterdir())[3]
    for path in (split / "masks" / image.name, split / "train_split.csv", split / "stage1_run.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("id\n")
        before = everything(root)
        assert run(stage1, root, "--force") == 2
        assert f"{path} exists and was not written by this stage" in capsys.readouterr().err
        assert everything(root) == before
        path.unlink()
    assert run(stage1, root) == 0 and run(stage1, root, "--force", "--seed", "7") == 0


def test_stage_2_keeps_images(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "copy"))
    split = root / "Train_Test_Dataset" / NAME
    foreign = split / "train" / "images" / "of_a_person.png"
    foreign.write_bytes(b"x")
    assert run(stage2, root, "--copies", "2") == 0 and run(stage2, root, "--copies", "0") == 0
    capsys.readouterr()
    assert run(stage2, root, "--copies", "0") == 0 and "removed" not in capsys.readouterr().out
    assert foreign.read_bytes() == b"x" and not list(split.rglob("*_aug*"))
    for name in (*LISTS, *JOURNALS, "preprocessing.json"):
        (split / name).unlink(missing_ok=True)
    before = everything(root)
    assert run(stage2, root) == 2
    assert "exist and were not written by this stage" in capsys.readouterr().err and everything(root) == before


def test_stage_3_keeps_a_model_that_was_copied_there(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "copy"))
    models = root / "Models" / NAME
    model = (models / "best_model.safetensors").read_bytes()
    shutil.rmtree(models)
    models.mkdir()
    (models / "best_model.safetensors").write_bytes(model)
    for more in ([], ["--seed", "7"]):
        assert run(stage3, root, *more) == 2
        assert f"{models / 'best_model.safetensors'} exists and was not written by" in capsys.readouterr().err
        assert [path.name for path in models.iterdir()] == ["best_model.safetensors"]
    assert run(stage3, root, "--score") == 0, "it may be scored"
    assert run(stage3, root) == 2 and (models / "best_model.safetensors").read_bytes() == model


@pytest.mark.parametrize("kept", [["last.ckpt"], ["last.ckpt", "stage3_run.json", "best_model.safetensors"]])
def test_training_resumes_from_a_checkpoint_without_a_list(trained: Path, tmp_path: Path, kept: Sequence[str]) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "copy"))
    models = root / "Models" / NAME
    for path in models.iterdir():
        if path.is_file() and path.name not in kept:
            path.unlink()
    assert run(stage3, root, "--resume") == 0 and tool(["verify", str(models)]) == 0


def test_the_api_refuses_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("of a person")
    with OutputFolder(tmp_path, "stage4") as output:
        for change in (lambda: output.write_text("a", "x"), lambda: output.move(output.write_text("b", "x"), "a")):
            with pytest.raises(DataError, match="exists and was not written by this stage"):
                change()
        output.remove("a")
    assert (tmp_path / "a").read_text() == "of a person"


def test_the_lists_and_journals_of_stages_are_their_own(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, "stage1") as output:
        output.write_text("a", "x")
    with pytest.raises(DataError), OutputFolder(tmp_path, "stage2") as output:
        output.write_text("a", "y")
    assert (tmp_path / "a").read_text() == "x"
