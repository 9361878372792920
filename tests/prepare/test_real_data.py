"""Stage 1 on real images, where a machine has them."""

from sonoseg.io.masks import read_mask
from sonoseg.prepare.split import assert_no_leak
from sonoseg.runs.split_tables import read_split
from sonoseg.runs.workspace import Workspace
from train_test_data_preparation import main


def test_hc18(tmp_path, capsys, hc18):
    assert main(["--task", "fetal_head", "--workspace", str(tmp_path), "--data", str(hc18)]) == 0
    assert "392_2HC.png: the same file as" in capsys.readouterr().out
    workspace = Workspace(tmp_path, "fetal_head")
    train, test = (read_split(workspace.split_table(part), ["HEAD"], workspace.root) for part in ("train", "test"))
    assert len(train) + len(test) == 799 == len(list((workspace.split / "masks").iterdir()))
    assert_no_leak(train, test)
    assert abs(len(test) / 799 - 0.2) < 0.02
    assert {sample.id[:3] for sample in train}.isdisjoint(sample.id[:3] for sample in test)
    first = next(sample for sample in (*train, *test) if sample.id == "001_HC")
    assert first.spacing == (0.08965852, 0.08965852) and first.reference == {"hc_mm": 56.81}
    assert first.patient == "001" and (first.height, first.width) == (540, 800)


def test_spine_sample(tmp_path, capsys, spine_sample):
    assert main(["--workspace", str(tmp_path), "--data", str(spine_sample)]) == 0
    said = capsys.readouterr().out
    assert "a single patient" in said and "metadata.csv: no such table" in said
    workspace = Workspace(tmp_path, "spine")
    (only,) = read_split(workspace.split_table("train"), ["MID", "VTB", "EPI"], workspace.root)
    assert read_split(workspace.split_table("test"), ["MID", "VTB", "EPI"], workspace.root) == []
    assert (only.id, only.fold, only.spacing, only.height, only.width) == ("Image_97", 0, None, 443, 625)
    mask = read_mask(only.mask)
    # The midline crosses the vertebral body and lies on it; the epidural space lies on the midline.
    assert mask[233, 344] == 3 and mask[100, 341] == 1 and mask[360, 347] == 1 and mask[380, 300] == 2
    assert (mask == 3).sum() == 98 * 11 + 2 * 35
