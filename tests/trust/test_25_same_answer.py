"""Check 25: the same seed gives the same files; changed inputs change the lists; a flipped bit is noticed."""

import json
import random
import shutil
from pathlib import Path

import pytest
import yaml

import image_preprocessing as stage2
import train_test_data_preparation as stage1
import training as stage3
from sonoseg.__main__ import main as tool
from sonoseg.io.png import write_image
from sonoseg.io.readers import read_image
from sonoseg.runs.integrity import read_list
from tests.trust.runs import NAME, OUTPUTS, STAGES, TIMED, TIMED_LISTS, make, outputs, run

SPLIT = Path("Train_Test_Dataset") / NAME


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def timeless(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in outputs(root).items() if Path(name).name not in (*TIMED, *TIMED_LISTS)}


def listed(root: Path, stage: str) -> dict[str, str]:
    """Return a stage's list, without the files that hold times."""
    (path,) = [path for name in OUTPUTS for path in (root / name).rglob(f"{stage}.sha256")]
    return {name: digest for name, digest in read_list(path)[0].items() if Path(name).name not in TIMED}


def differing(first: dict[str, str], second: dict[str, str]) -> set[str]:
    return {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}


def test_the_same_seed_gives_the_same_files(trained: Path, tmp_path: Path) -> None:
    other = make(tmp_path)
    for stage in STAGES:
        assert run(stage, other) == 0
    first, second = timeless(trained), timeless(other)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    for stage in ("stage1", "stage2", "stage3", "stage4"):
        assert listed(trained, stage) == listed(other, stage)


def test_a_changed_pixel_changes_only_the_lines_of_its_image(
    copy: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sorted((copy / "spine").rglob("*.png"))[0]
    pixels = read_image(image).pixels
    pixels[pixels.shape[0] // 2, pixels.shape[1] // 2] ^= 0x40
    write_image(image, pixels)
    assert tool(["verify", str(copy / SPLIT)]) == 1
    assert f"changed   {copy / 'spine'}" in capsys.readouterr().out, "the source is in the list"
    assert run(stage1, copy) == 0 and run(stage2, copy) == 0
    assert "11 already prepared, 1 to do" in capsys.readouterr().out
    first = differing(listed(copy, "stage1"), listed(trained, "stage1"))
    assert any(image.name in name for name in first) and not any("masks" in name for name in first)
    second = differing(listed(copy, "stage2"), listed(trained, "stage2"))
    pictures = {name for name in second if name.endswith(".png")}
    assert pictures and all(image.stem in name for name in pictures) and "preprocessing.json" in second
    assert tool(["verify", str(copy / SPLIT)]) == 0


def test_a_changed_annotation_changes_only_its_mask(copy: Path, trained: Path) -> None:
    annotations = copy / "spine" / "annotations.json"
    shapes = json.loads(annotations.read_text())
    name = next(name for name, entry in shapes.items() if entry)
    shapes[name][0][2][0][0] += 3
    annotations.write_text(json.dumps(shapes))
    assert run(stage1, copy) == 0
    changed = differing(listed(copy, "stage1"), listed(trained, "stage1"))
    masks = {file for file in changed if file.startswith("masks/")}
    assert masks == {f"masks/{name}.png"}


@pytest.mark.parametrize(
    ("stage", "more", "settings", "name"),
    [
        (stage2, ["--seed", "7"], {}, "train/images"),
        (stage2, [], {"enhancement": {"denoise": None, "clahe": None}}, "test/images"),
        (stage3, ["--seed", "7"], {}, "best_model.safetensors"),
        (stage3, [], {"training": {"epochs": 2}}, "best_model.safetensors"),
    ],
)
def test_a_changed_setting_changes_the_list(copy: Path, trained: Path, stage, more, settings, name: str) -> None:
    task = copy / f"{NAME}.yaml"
    fields = yaml.safe_load(task.read_text())
    for section, values in settings.items():
        fields[section] = {**fields.get(section, {}), **values}
    task.write_text(yaml.safe_dump(fields))
    assert run(stage, copy, *more) == 0
    which = "stage2" if stage is stage2 else "stage3"
    assert any(file.startswith(name) for file in differing(listed(copy, which), listed(trained, which)))


def test_verify_notices_a_flipped_bit_in_every_kind_of_file(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(copy / name / NAME) for name in OUTPUTS]
    assert tool(["verify", *folders]) == 0
    assert " 0 changed, 0 missing, 0 extra" in capsys.readouterr().out
    rng = random.Random(25)
    kinds = {}
    for name in [*outputs(copy), *(path.relative_to(copy).as_posix() for path in (copy / "spine").rglob("*.png"))]:
        if Path(name).name not in ("evaluations.jsonl", "MODEL_CARD.md"):
            path = Path(name)
            kinds[path.parent, path.suffix, "overlay" in name, path.stem if path.suffix != ".png" else ""] = copy / name
    assert {".png", ".csv", ".json", ".html", ".safetensors", ".ckpt"} <= {path.suffix for path in kinds.values()}
    for path in kinds.values():
        whole = path.read_bytes()
        place = rng.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :])
        assert tool(["verify", *folders]) == 1, path
        said = capsys.readouterr().out
        assert path.name in said or path.suffix == ".sha256", path
        path.write_bytes(whole)
    assert tool(["verify", *folders]) == 0
