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
