"""Several folders of one dataset: what belongs together stays together, whatever the names and folders."""

from pathlib import Path

import numpy as np

from tests.prepare.test_additions import SIZE, Stage1, add, picture, square, stage1

__all__ = ["stage1"]


def noisy(seed: int, level: int = 3) -> np.ndarray:
    """Return a picture that is almost that of `picture`."""
    noise = np.random.default_rng(seed).integers(-level, level + 1, SIZE)
    return np.clip(picture(seed).astype(int) + noise, 0, 255).astype(np.uint8)


def test_pictures_and_rows_of_an_added_folder_are_in_one_order(stage1: Stage1, tmp_path: Path) -> None:
    """Image p10_0 comes after all others in the folders, and before most of them in the tables."""
    rows = [f"p{number // 2}_{number % 2},{0.1 + number / 100},0.2" for number in range(20)]
    (stage1.base / "metadata.csv").write_text("\n".join(["image,row_mm,col_mm", *rows]))
    stage1.run()
    add(tmp_path / "more", "p10_0", noisy(18), square(5, side=20))
    (tmp_path / "more" / "metadata.csv").write_text("image,row_mm,col_mm\np10_0,1,1\n")
    stage1.run("--add", str(tmp_path / "more"))
    (pair,) = stage1.report["near_duplicates"]["most_alike"]
    assert set(pair["ids"]) == {"p10_0", "p9_0"}
    assert stage1.report["areas"]["SQUARE"]["mm2"]["max"] == 400
    (where,) = [one["where"] for one in stage1.report["warnings"] if one["kind"] in ("alike", "alike_across")]
    assert "p10_0" in where


def test_an_image_like_a_test_image_does_not_train_where_patients_are_unknown(stage1: Stage1, tmp_path: Path) -> None:
    stage1.run(patients="unknown")
    before = stage1.rows
    for at, name in enumerate(before):  # copies of all: none may be in another part, whatever the draw
        number = int(name[1]) * 2 + int(name[3])
        add(tmp_path / "more", f"copy{at * 2}", noisy(number), square(5))
    stage1.run("--add", str(tmp_path / "more"), patients="unknown")
    after = stage1.rows
    assert stage1.code == 0 and len(after) == 40
    assert all(after[f"copy{at * 2}"]["fold"] == before[name]["fold"] for at, name in enumerate(before))
    assert stage1.report["near_duplicates"]["pairs"] == 0
    (message,) = [one["message"] for one in stage1.report["warnings"] if one["kind"] == "no_patients"]
    assert message.startswith("unknown for 40 images: 20 groups of almost equal pictures and runs of frames, ")


def test_an_image_without_a_patient_that_is_like_one_of_a_patient_is_of_that_patient(
    stage1: Stage1, tmp_path: Path
) -> None:
    rows = [f"p{number // 2}_{number % 2},patient{number // 2}" for number in range(20)]
    for number in range(20):
        add(stage1.base, f"copy{number * 2}", noisy(number), square(5))
    (stage1.base / "metadata.csv").write_text("\n".join(["image,patient", *rows]))
    stage1.run(patients="unknown")
    assert {stage1.rows[f"copy{number * 2}"]["patient"] for number in range(20)} == {f"patient{at}" for at in range(10)}
    assert all(stage1.rows[f"copy{at * 2}"]["patient"] == f"patient{at // 2}" for at in range(20))
    assert stage1.report["near_duplicates"]["pairs"] == 0
    messages = [one["message"] for one in stage1.report["warnings"] if one["kind"] == "no_patients"]
    assert len(messages) == 1 and "20 of them are similar to images of a known patient" in messages[0]


def test_an_image_without_a_patient_that_is_like_those_of_two_patients_is_named(stage1: Stage1) -> None:
    rows = [f"p{number // 2}_{number % 2},patient{number // 2}" for number in range(20)]
    add(stage1.base, "copy0", noisy(0, 2), square(5))
    add(stage1.base, "copy1", noisy(0, 3), square(5))
    add(stage1.base, "copy2", noisy(0, 4), square(5))
    (stage1.base / "metadata.csv").write_text("\n".join(["image,patient", *rows, "copy1,patient9"]))
    stage1.run(patients="unknown")
    assert stage1.rows["copy0"]["patient"] == stage1.rows["copy2"]["patient"] == "copy0"
    messages = [one["message"] for one in stage1.report["warnings"] if one["kind"] == "no_patients"]
    assert len(messages) == 2
    assert any("copy0, copy2: similar to images of the patients patient0, patient9" in message for message in messages)


def test_a_copy_in_an_added_folder_is_dropped_and_a_correction_is_not(stage1: Stage1, tmp_path: Path) -> None:
    stage1.run()
    more, again = tmp_path / "more", tmp_path / "again"
    add(more, "a90_0", picture(3), square(8))  # of p1_1, and before it in the order of names
    add(more, "p1_1", picture(3), square(30))  # corrected
    add(more, "p0_1", picture(70), square(8))  # another picture, so that ...
    add(again, "p91_0", picture(1), square(8))  # ... this one, the earlier p0_1, is no copy any more
    add(again, "p92_0", picture(70), square(8))
    either = {"pattern": r"^([ap]\d+)_"}
    assert "but of patients" in stage1.run("--add", str(more), str(again), patients=either) and stage1.code == 2
    stage1.run("--add", str(more), str(again), "--drop-duplicates", patients=either)
    assert stage1.code == 0 and len(stage1.rows) == 21 and "p91_0" in stage1.rows
    assert (stage1.mask("p1_1") == square(30)).all()
    dropped = {one["where"]: one["message"] for one in stage1.report["warnings"] if one["kind"] == "dropped"}
    assert {Path(where).name for where in dropped} == {"a90_0.png", "p92_0.png"}
    assert any(str(more / "images" / "p0_1.png") in message for message in dropped.values())


def test_a_corrected_image_silences_no_warning_about_new_ones(stage1: Stage1, tmp_path: Path) -> None:
    rows = [f"p{number // 2}_{number % 2},patient{number // 2},0.2,0.2" for number in range(20)]
    (stage1.base / "metadata.csv").write_text("\n".join(["image,patient,row_mm,col_mm", *rows]))
    stage1.run(patients={"column": "patient"})

    def missing() -> dict[str, str]:
        warnings = stage1.report["warnings"]
        return {one["kind"]: one["message"] for one in warnings if one["kind"] in ("no_patients", "no_spacing")}

    add(tmp_path / "more", "p0_0", picture(0), square(9))
    stage1.run("--add", str(tmp_path / "more"), patients={"column": "patient"})
    assert stage1.code == 0 and not missing()  # all is known of an image that is corrected
    add(tmp_path / "more", "new", picture(30), square(8))
    stage1.run(patients={"column": "patient"})
    assert stage1.code == 0 and missing().keys() == {"no_patients", "no_spacing"}
    assert "no patient for 1 image (new)" in missing()["no_patients"]


def test_settings_of_the_split_stay_where_images_are_added(stage1: Stage1, tmp_path: Path) -> None:
    stage1.run("--seed", "7", "--test-size", "0.3")
    before = stage1.rows
    add(tmp_path / "more", "p30_0", picture(30), square(8))
    stage1.run("--add", str(tmp_path / "more"))
    assert stage1.report["settings"] == {"test_size": 0.3, "folds": 5, "seed": 7}
    said = " ".join(stage1.run("--seed", "8").split())
    assert stage1.code == 2 and "the split to which images are added has seed 7, and not 8; leave the flag out" in said
    stage1.run("--seed", "7", "--folds", "5")
    assert stage1.code == 0 and all(stage1.rows[name]["fold"] == row["fold"] for name, row in before.items())
    stage1.run("--seed", "8", "--add", str(tmp_path / "more"), "--force")
    assert stage1.code == 0 and stage1.report["settings"]["seed"] == 8
