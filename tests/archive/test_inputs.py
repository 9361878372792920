"""Files of an archive: the walk, lists, their spacings, and the groups that become shards."""

import itertools
import os
import random
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from sonoseg.archive.inputs import Unit, open_archive
from sonoseg.archive.masks import decode_labels, encode_labels
from sonoseg.archive.shards import group
from sonoseg.errors import DataError
from sonoseg.inference.sources import SpacingOptions
from sonoseg.io.png import write_image
from sonoseg.schema.task import Task
from tests.io.volumes import meta_image

PICTURE = np.arange(64, dtype=np.uint8).reshape(8, 8)
NOTHING = SpacingOptions()


def units(images: Path, task: Task, given: SpacingOptions = NOTHING) -> list[Unit]:
    return list(open_archive(images, task, given).units())


def test_a_folder_is_walked_with_its_sub_folders_in_the_order_of_the_names(tmp_path: Path, fetal_head: Task) -> None:
    for name in ("b.png", "a/z.png", "a/b/c.png", "c/.hidden.png", ".h/a.png", "d.gif", "a/A.png"):
        write_image(tmp_path / name, PICTURE)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "again").symlink_to(tmp_path / "a")  # a link to a folder may lead back
    found = units(tmp_path, fetal_head)
    assert [unit.name for unit in found] == ["a/A.png", "a/b/c.png", "a/z.png", "b.png", "d.gif"]
    status = (tmp_path / "b.png").stat()
    assert (found[3].size, found[3].mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_other_values_beside_a_header_are_another_file(tmp_path: Path, fetal_head: Task) -> None:
    meta_image(tmp_path / "a.mhd", PICTURE)
    (before,) = units(tmp_path, fetal_head)
    os.utime(tmp_path / "a.raw", ns=(1, 1))
    (after,) = units(tmp_path, fetal_head)
    assert before.size == after.size == sum(file.stat().st_size for file in tmp_path.iterdir())
    assert before != after


def test_the_walk_is_lazy(tmp_path: Path, fetal_head: Task) -> None:
    for name in ("a/1.png", "b/1.png"):
        write_image(tmp_path / name, PICTURE)
    walk = open_archive(tmp_path, fetal_head, NOTHING).units()
    assert next(walk).name == "a/1.png"
    write_image(tmp_path / "b" / "2.png", PICTURE)  # this folder has not been listed yet
    assert [unit.name for unit in walk] == ["b/1.png", "b/2.png"]


def test_lists_name_images_and_their_spacings(tmp_path: Path, fetal_head: Task) -> None:
    for name in ("a.png", "b/c.png"):
        write_image(tmp_path / name, PICTURE)
    (tmp_path / "list.txt").write_text("﻿b/c.png\n\na.png\r\nmissing.png\n")
    found = units(tmp_path / "list.txt", fetal_head)
    assert [(unit.name, unit.size > 0, unit.spacing) for unit in found] == [
        ("b/c.png", True, None),
        ("a.png", True, None),
        ("missing.png", False, None),
    ]
    (tmp_path / "list.csv").write_text(
        "row_mm;image;col_mm\n0.1;a.png;0.2\n;b/c.png;\n0.1;a.png;\n9;a.png;9\nx;a.png;1\n"
    )
    found = units(tmp_path / "list.csv", fetal_head)
    assert [unit.spacing for unit in found] == [(0.1, 0.2), None, None, None, None]
    assert found[0].spacing_from == "list.csv" and not found[1].problem
    assert all(unit.problem.startswith("list.csv: ") for unit in found[2:])
    table = pyarrow.table(
        {"image": ["a.png", str(tmp_path / "b" / "c.png")], "row_mm": [0.1, None], "col_mm": [0.2, None]}
    )
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    found = units(tmp_path / "list.parquet", fetal_head)
    assert [(unit.spacing, unit.size > 0) for unit in found] == [((0.1, 0.2), True), (None, True)]
    given = SpacingOptions((0.3, 0.3), "--spacing")
    assert {unit.spacing for unit in units(tmp_path / "list.parquet", fetal_head, given)} == {(0.3, 0.3)}


def test_lists_may_be_those_of_a_spreadsheet_program(tmp_path: Path, fetal_head: Task) -> None:
    """In Windows-1252, and with a decimal comma where commas do not separate the cells."""
    for name in ("fötus.png", os.fsdecode(b"f\xfctus.png")):
        write_image(tmp_path / name, PICTURE)
    table = "image;row_mm;col_mm\r\nfötus.png;0,1;0,2\r\nfütus.png;0.1;\r\n"
    (tmp_path / "list.csv").write_bytes(table.encode("cp1252"))
    (tmp_path / "list.txt").write_bytes("fötus.png\r\nfütus.png\r\n".encode("cp1252"))
    for list_ in ("list.csv", "list.txt"):
        found = units(tmp_path / list_, fetal_head)
        assert [unit.name for unit in found] == ["fötus.png", os.fsdecode(b"f\xfctus.png")]
        assert all(unit.size > 0 for unit in found), "the second has a name that is no text, as the list spells it"
    (tmp_path / "list.csv").write_text(table)
    assert [unit.spacing for unit in units(tmp_path / "list.csv", fetal_head)] == [(0.1, 0.2), None]
    (tmp_path / "list.csv").write_text('image,row_mm,col_mm\nfötus.png,"0,1","0,2"\n')
    assert "'0,1' is no number" in units(tmp_path / "list.csv", fetal_head)[0].problem


def test_the_table_of_a_folder_gives_the_spacings(tmp_path: Path, spine: Task) -> None:
    for name in ("a.png", "sub/a.png", "sub/b.png"):
        write_image(tmp_path / name, PICTURE)
    (tmp_path / "metadata.csv").write_text("image,row_mm,col_mm\na,0.1,0.1\nsub/b.png,0.2,0.2\n")
    found = {unit.name: unit.spacing for unit in units(tmp_path, spine)}
    assert found == {"a.png": (0.1, 0.1), "sub/a.png": None, "sub/b.png": (0.2, 0.2)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.csv", "file\na.png\n", "no column 'image'; it has file"),
        ("list.parquet", "no table", "not a readable Parquet file"),
        ("list.json", "[]", "neither a folder nor a list; expected"),
        ("none.txt", None, "no such folder or list; expected"),
    ],
)
def test_what_is_no_list_is_refused(
    name: str, text: str | None, message: str, tmp_path: Path, fetal_head: Task
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        units(tmp_path / name, fetal_head)


def many(count: int, size: int = 100_000) -> list[Unit]:
    return [Unit(f"{index // 100:03d}/{index:06d}.png", size, 1) for index in range(count)]


def test_shards_have_about_the_wanted_number_of_images() -> None:
    shards = list(group(many(20_000), "f", 64))
    lengths = [len(shard.units) for shard in shards[:-1]]
    assert [unit for shard in shards for unit in shard.units] == many(20_000)
    assert min(lengths) >= 14 and max(lengths) <= 128 and 45 <= np.mean(lengths) <= 75
    assert len({shard.identity for shard in shards}) == len(shards)
    loops = [len(shard.units) for shard in group(many(1000, size=50 << 20), "f", 64)]
    assert max(loops) <= 3  # of 51 images each, as far as the size tells


def test_a_file_more_or_less_changes_the_shards_around_it_only() -> None:
    rng = random.Random(1)
    files = many(5000)
    before = {shard.identity for shard in group(files, "f", 64)}
    for _ in range(20):
        changed = files.copy()
        if rng.random() < 0.5:
            changed.pop(rng.randrange(len(changed)))
        else:
            at = rng.randrange(len(changed))
            changed.insert(at, Unit(f"{changed[at].name}a.png", 100_000, 1))
        after = {shard.identity for shard in group(changed, "f", 64)}
        assert 1 <= len(after - before) <= 6, "of about 80"


def test_what_decides_the_rows_decides_the_name_of_a_shard() -> None:
    unit = Unit("a.png", 5, 7, (0.1, 0.1), "list.csv")
    variants = [unit, Unit("b.png", 5, 7, (0.1, 0.1), "list.csv"), Unit("a.png", 6, 7, (0.1, 0.1), "list.csv")]
    variants += [Unit("a.png", 5, 8, (0.1, 0.1), "list.csv"), Unit("a.png", 5, 7, (0.1, 0.2), "list.csv")]
    names = [next(group([each], "f")).file for each in variants] + [next(group([unit], "g")).file]
    assert len(set(names)) == len(names)
    assert next(group([unit], "f")).file == names[0]


def test_nothing_is_kept_of_the_files() -> None:
    endless = (Unit(f"{index}.png", 1000, 1) for index in itertools.count())
    assert sum(len(shard.units) for shard in itertools.islice(group(endless, "f", 8), 50)) > 100


def test_label_maps_come_back_from_their_run_lengths() -> None:
    from pycocotools import mask

    rng = np.random.default_rng(0)
    for size in ((1, 1), (3, 500), (37, 41)):
        labels = rng.integers(0, 4, size, dtype=np.uint8) * (rng.random(size) < 0.3)
        labels = labels.astype(np.uint8)
        counts = encode_labels(labels, ("A", "B", "C"))
        assert np.array_equal(decode_labels(counts, ("A", "B", "C"), size), labels)
        assert np.array_equal(mask.decode({"size": size, "counts": counts["B"]}), labels == 2)
    with pytest.raises(DataError, match="B covers another structure"):
        decode_labels({"A": counts["A"], "B": counts["A"]}, ("A", "B"), size)
    with pytest.raises(DataError, match="no run lengths of B"):
        decode_labels({"A": counts["A"]}, ("A", "B"), size)


def test_names_that_are_no_text_are_kept(tmp_path: Path, fetal_head: Task) -> None:
    name = os.fsdecode(b"a\xff.png")
    write_image(tmp_path / name, PICTURE)
    shard = next(group(units(tmp_path, fetal_head), "f"))
    assert shard.units[0].name == name
