"""Integrity lists and output folders: contents of the list, when it exists, and that every changed byte is noticed."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sonoseg.__main__ import main
from sonoseg.io.files import sha256_of, write_bytes
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.io.readers.opening import digest_of_file
from sonoseg.runs.integrity import list_bytes, read_list
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.verify import compare, plan
from tests.io.volumes import meta_image

ODD = ["plain.png", "two words.png", "line\nend.png", "back\\slash.png", "é.png", "=1+1.png", "r\r.png", "\udcff.png"]


def statuses(*paths: Path) -> dict[str, str]:
    entries, findings = plan(paths)
    return {
        finding.path.name: finding.status for finding in [*findings, *map(compare, entries)] if finding.status != "ok"
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The output folder of a finished stage: two files, one of them in a subfolder."""
    with OutputFolder(tmp_path / "out", "stage4") as output:
        output.write_bytes("a.png", b"aaaa")
        output.subfolder("fold_0").write_bytes("b.json", b"bbbb")
    return tmp_path / "out"


def test_names_round_trip_and_sha256sum_reads_the_list(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, "stage4") as output:
        for name in ODD:
            output.write_bytes(name, name.encode("utf-8", "surrogateescape"))
    digests, faults = read_list(tmp_path / "stage4.sha256")
    assert digests == {name: sha256_of(tmp_path / name) for name in ODD} and not faults
    assert statuses(tmp_path) == {}
    if shutil.which("sha256sum"):
        done = subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "stage4.sha256"], cwd=tmp_path, check=False)
        assert done.returncode == 0


def test_written_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("sonoseg.runs.integrity.sha256_of", fail)
    with OutputFolder(tmp_path, "stage4") as output:
        output.add(output.write_bytes("a", b"a"))
    assert (tmp_path / "stage4.sha256").read_bytes() == list_bytes({"a": sha256_of(tmp_path / "a")})


def test_an_image_of_two_files_is_listed_as_two(tmp_path: Path) -> None:
    path = meta_image(tmp_path / "a.mhd", np.zeros((8, 8), np.uint8))
    for grey in (1, 2):
        with OutputFolder(tmp_path, "stage1") as output:
            output.keep(path, digest_of_file(path, DEFAULT_LIMITS)[0])
        assert set(read_list(tmp_path / "stage1.sha256")[0]) == {"a.mhd", "a.raw"} and statuses(tmp_path) == {}
        meta_image(path, np.full((8, 8), grey, np.uint8))
        assert statuses(tmp_path) == {"a.raw": "changed"}


def test_the_list_is_removed_before_the_first_change_and_written_last(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), OutputFolder(folder, "stage4") as output:
        assert (folder / "stage4.sha256").is_file(), "nothing has changed yet"
        output.write_bytes("a.png", b"new")
        assert not (folder / "stage4.sha256").exists()
        raise KeyboardInterrupt
    assert not (folder / "stage4.sha256").exists()
    assert statuses(folder) == {"out": "unlisted", "fold_0": "unlisted"}


def test_removing_a_file_is_a_change_removing_a_missing_file_is_not(folder: Path) -> None:
    with pytest.raises(KeyError), OutputFolder(folder, "stage4") as output:
        output.remove("c.png", "fold_0/d.json")
        assert (folder / "stage4.sha256").is_file()
        output.remove("a.png")
        assert not (folder / "stage4.sha256").exists() and not (folder / "a.png").exists()
        raise KeyError


def test_files_of_several_threads_are_all_listed(tmp_path: Path) -> None:
    names = [f"{number:03}" for number in range(200)]
    with OutputFolder(tmp_path, "stage4") as output, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: output.write_text(name, name), names))
    assert read_list(tmp_path / "stage4.sha256")[0].keys() == set(names) and statuses(tmp_path) == {}


def test_a_file_outside_the_folder_is_refused(tmp_path: Path) -> None:
    for name in (tmp_path / "b", "../b", tmp_path):
        with pytest.raises(ValueError, match="not below the output folder"):
            OutputFolder(tmp_path / "out", "stage4").write_bytes(name, b"")
    assert not list(tmp_path.iterdir())


def test_a_run_that_changes_no_listed_file_keeps_the_list(folder: Path) -> None:
    before = (folder / "stage4.sha256").read_bytes()
    with pytest.raises(KeyError), OutputFolder(folder, "stage4") as output:
        output.write_bytes("evaluations.jsonl", b"grows")
        raise KeyError
    assert (folder / "stage4.sha256").read_bytes() == before and statuses(folder) == {}


def test_every_changed_bit_is_noticed_also_in_the_list(folder: Path) -> None:
    for path in (folder / "a.png", folder / "fold_0" / "b.json", folder / "stage4.sha256"):
        whole = path.read_bytes()
        for place in range(len(whole)):
            for bit in (0x01, 0x20):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
                assert statuses(folder), f"{path.name}: bit {bit:#x} of byte {place}"
        path.write_bytes(whole)
    assert statuses(folder) == {}


def test_each_difference_has_its_status(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"aaab")
    (folder / "fold_0" / "b.json").unlink()
    (folder / "note.txt").write_text("")
    (folder / "new").mkdir()
    (folder / "new" / "c.png").write_text("")
    assert statuses(folder) == {"a.png": "changed", "b.json": "missing", "note.txt": "extra", "new": "unlisted"}


def test_files_that_are_never_listed_are_no_difference(folder: Path) -> None:
    for name in ("evaluations.jsonl", "MODEL_CARD.md", ".sonoseg.lock", "dataset_check.html"):
        (folder / name).write_text("more")
    (folder / "engines").mkdir()
    (folder / "engines" / "x.json").write_text("{}")
    assert statuses(folder) == {}


def test_a_subfolder_with_its_own_list_is_checked_by_it(folder: Path) -> None:
    with OutputFolder(folder / "cross_validation", "stage3") as output:
        output.write_bytes("c", b"c")
    assert statuses(folder) == statuses(folder.parent) == {}
    (folder / "cross_validation" / "c").write_bytes(b"d")
    assert statuses(folder) == {"c": "changed"}


def test_files_of_an_earlier_run_keep_their_first_digest(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"damaged between the runs")
    with OutputFolder(folder, "stage4") as output:
        output.write_bytes("of_other_images.png", b"c")
        output.keep_earlier()
    assert statuses(folder) == {"a.png": "changed"}
    with OutputFolder(folder, "stage4") as output:
        output.write_bytes("a.png", b"made again")
    assert statuses(folder) == {"fold_0": "unlisted", "of_other_images.png": "extra"}, "not kept, so not in the list"


def test_files_outside_are_listed_and_moved_files_by_their_new_name(tmp_path: Path) -> None:
    source = write_bytes(tmp_path / "Datasets" / "s.png", b"s")
    folder = tmp_path / "Train_Test_Dataset"
    with OutputFolder(folder, "stage1", root=tmp_path) as output:
        output.keep(source, sha256_of(source))
        output.move(output.write_bytes("t.csv.new", b"t"), "t.csv")
    assert read_list(folder / "stage1.sha256")[0].keys() == {"../Datasets/s.png", "t.csv"}
    source.write_bytes(b"t")
    assert statuses(folder) == {"s.png": "changed"}


def test_a_single_file_is_checked_by_the_list_of_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "fold_0")
    assert statuses(Path("b.json")) == {}
    Path("b.json").write_bytes(b"bbbc")
    (folder / "a.png").write_bytes(b"not asked for")
    assert statuses(Path("b.json")) == {"b.json": "changed"}
    assert statuses(folder / "stage4.sha256") == {"b.json": "changed", "a.png": "changed"}


@pytest.mark.parametrize(
    ("damage", "code", "message"),
    [
        (lambda folder: None, 0, "2 checked: 2 ok, 0 changed"),
        (lambda folder: (folder / "a.png").write_bytes(b"x"), 1, "a.png: its SHA-256 is not the one in stage4.sha256"),
        (lambda folder: (folder / "stage4.sha256").unlink(), 1, "no list (*.sha256)"),
        (lambda folder: shutil.rmtree(folder), 2, "no such file or folder"),
        (lambda folder: [shutil.rmtree(folder), folder.mkdir()], 1, "nothing in it"),
        (lambda folder: (folder / "stage4.sha256").write_bytes(b""), 1, "it is empty"),
    ],
)
def test_exit_codes(folder: Path, capsys: pytest.CaptureFixture[str], damage, code: int, message: str) -> None:
    damage(folder)
    assert main(["verify", str(folder)]) == code
    captured = capsys.readouterr()
    assert message in captured.out + captured.err


def test_names_are_printed_without_control_characters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "\x1b[31m\nred\udcff").write_text("")
    assert main(["verify", str(folder), "--list"]) == 1
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\\x1b[31m\\nred\\udcff" in printed and "ok        " in printed


def test_a_model_without_a_list_is_checked_by_its_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.numpy import save

    from sonoseg.models.model_header import KEY, header_text
    from sonoseg.schema.task_files import load_task

    path = tmp_path / "best_model.safetensors"
    path.write_bytes(save({}, metadata={KEY: header_text(load_task("spine"), {})}))
    assert main(["verify", str(path)]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("unlisted") and "task spine" in printed and sha256_of(path) in printed
    path.write_bytes(path.read_bytes()[:-9])
    assert main(["verify", str(path)]) == 1
    assert capsys.readouterr().out.startswith("changed")


def test_a_model_is_read_back_before_it_replaces_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bytes(tmp_path / "m", b"old")
    real = os.fsync

    def lose_a_bit(handle: int) -> None:
        real(handle)
        os.pwrite(handle, b"N", 0)

    monkeypatch.setattr(os, "fsync", lose_a_bit)
    with pytest.raises(OSError, match="gave back other bytes") as raised:
        write_bytes(path, b"new", reread=True)
    assert raised.value.filename == str(path) and path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
