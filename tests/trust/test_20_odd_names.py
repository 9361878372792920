"""Check 20: names with spaces, Unicode, markup, formulas go through all stages and run nowhere; line breaks do not."""

import csv
import io
import json
import math
import shutil
import unicodedata
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

import train_test_data_preparation as stage1
from sonoseg.__main__ import main as tool
from sonoseg.io.names import name_problem
from sonoseg.io.tables import csv_text, read_table, unescape_cell
from sonoseg.runs.split_tables import read_index, read_split
from tests.trust.conftest import Segmented, everything, put_rows, rows_of
from tests.trust.runs import NAME, STAGES, make, run

ODD = (
    "<script>alert(1)<!-- {}",
    "=1+1 {}",
    "two  spaces {}",
    unicodedata.normalize("NFC", "Ümlaut é {}"),
    unicodedata.normalize("NFD", "Ümlaut ö {}"),
    '"><img src=x onerror=alert(1)> {}',
    "+49, 'a';b {}",
    "@SUM(A1) {}",
    "-2 & &amp; {}",
    "%41%2f #?{}",
    "超音波 {}",
    "# {}",
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass
class Odd:
    """A workspace in which all stages have run on images and patients with odd names; `patients` by image."""

    root: Path
    patients: dict[str, str]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Odd:
    root = make(tmp_path_factory.mktemp("odd"))
    data = root / "spine"
    shapes = json.loads((data / "annotations.json").read_text())
    rows = rows_of(data / "metadata.csv")
    patients: dict[str, str] = {}
    for number, row in enumerate(rows):
        old, name = row["image"], ODD[number % len(ODD)].format(number)
        (data / "images" / f"{old}.png").rename(data / "images" / f"{name}.png")
        shapes[name] = shapes.pop(old)
        patients[name] = ODD[int(row["patient"][1:]) % len(ODD)].format(row["patient"])
        row |= {"image": name, "patient": patients[name]}
    (data / "annotations.json").write_text(json.dumps(shapes))
    put_rows(data / "metadata.csv", rows)
    for stage in STAGES:
        assert run(stage, root) == 0
    return Odd(root, patients)


def test_all_stages_keep_every_name(odd: Odd) -> None:
    split = odd.root / "Train_Test_Dataset" / NAME
    found = {
        one.id: one.patient
        for part in ("train", "test")
        for one in read_split(split / f"{part}_split.csv", ["MID"], odd.root)
    }
    assert found == odd.patients, "ids and patients, to the Unicode form of each letter"
    originals = [row for part in ("train", "test") for row in read_index(split / part / "index.csv", odd.root)]
    assert {row.source_id: row.patient for row in originals} == odd.patients
    for row in originals:
        assert row.image_path.is_file() and row.mask_path.is_file()
    tested = {one.id for one in read_split(split / "test_split.csv", ["MID"], odd.root)}
    assert len(tested) >= 3
    assert {row["id"] for row in stripped(odd.root / "Models" / NAME / "per_case.csv")} == tested
    results = odd.root / "result" / NAME
    assert {row["image"] for row in stripped(results / "results.csv")} == {f"{name}.png" for name in tested}
    for name in tested:
        assert all((results / f"{name}{end}").is_file() for end in ("_mask.png", "_overlay.png", ".json"))
    assert tool(["verify", *(str(odd.root / name / NAME) for name in ("Train_Test_Dataset", "Models", "result"))]) == 0


def stripped(table: Path) -> list[dict[str, str]]:
    return [{key: unescape_cell(value) for key, value in row.items()} for row in rows_of(table)]


def test_no_table_holds_a_formula(odd: Odd) -> None:
    tables = [path for path in odd.root.rglob("*.csv") if path.parent != odd.root / "spine"]
    assert len(tables) == 7, tables
    guarded = 0
    for table in tables:
        for row in rows_of(table):
            for cell in row.values():
                assert not cell.startswith(FORMULA) or is_number(cell), f"{table.name}: {cell}"
                guarded += cell.startswith("'")
    assert guarded > 20


def is_number(text: str) -> bool:
    try:
        return bool(math.isfinite(float(text)))
    except ValueError:
        return False


class Reader(HTMLParser):
    """Collects the elements of a page and its text, the way a browser takes it apart."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        self.handlers += [value for name, value in attributes if name == "src" and value == "x"]

    def handle_comment(self, data: str) -> None:
        self.handlers.append(data)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_no_page_runs_a_name(odd: Odd) -> None:
    pages = list(odd.root.rglob("*.html"))
    assert {path.name for path in pages} == {"dataset_report.html", "evaluation.html"}
    shown = set()
    for page in pages:
        reader = Reader()
        reader.feed(page.read_text())
        assert "script" not in reader.tags and reader.handlers == [], page
        shown |= {name for name in odd.patients if name in reader.text}
    assert any("<script>" in name for name in shown) and any("<img" in name for name in shown), shown
    card = (odd.root / "Models" / NAME / "MODEL_CARD.md").read_text()
    assert "<script" not in card and "<img" not in card


def test_a_line_break_is_refused_by_name_and_the_others_go_on(
    odd: Odd, segmented: Segmented, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(odd.root, tmp_path / "w"))
    data = root / "spine"
    image = data / "images" / "two\nlines.png"
    shutil.copy(next(iter((data / "images").iterdir())), image)
    before = everything(root / "Train_Test_Dataset")
    assert run(stage1, root) == 2
    said = capsys.readouterr().err
    assert "images/two\\nlines.png: a line break" in said and "rename it" in said
    assert everything(root / "Train_Test_Dataset") == before

    code, rows = segmented(data / "images", tmp_path / "out")
    assert code == 1 and len(rows) == len(odd.patients) + 1
    assert [name for name, row in rows.items() if row["status"] == "failed"] == ["two\\nlines.png"]
    assert "a line break" in rows["two\\nlines.png"]["reason"]
    with (tmp_path / "out" / "results.csv").open("rb") as stream:
        assert len(stream.read().splitlines()) == len(rows) + 1, "one line for each image"


HIDDEN_FORMULAS = (
    "a;=1+1",
    "a\t@SUM(A1)",
    ";-2",
    "x\n+3",
    'a;"=1',
    "';=1",
    "'=1",
    "a;'=1",
    "\t\t=1",
    ";;=1;-2",
    "'\t'=",
)
ORDINARY = ("a;b", "a-b", "it's", '"quoted"', "'a';b", "a; =1", "x=1;y=2", "")


def test_no_cell_becomes_a_formula_whatever_separates_the_cells(tmp_path: Path) -> None:
    text = csv_text(["id", "name"], [{"id": str(n), "name": name} for n, name in enumerate(HIDDEN_FORMULAS)])
    for separator in ",;\t":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            assert not any(cell.lstrip('"').startswith(FORMULA) for cell in row), (separator, row)
    (tmp_path / "table.csv").write_text(text, newline="")
    read = [row["name"] for _, row in read_table(tmp_path / "table.csv", "a test")]
    assert read == list(HIDDEN_FORMULAS)


@pytest.mark.parametrize("name", [*HIDDEN_FORMULAS, *ORDINARY])
def test_what_is_read_is_what_was_written(name: str) -> None:
    _, (_, cell) = csv.reader(io.StringIO(csv_text(["id", "name"], [{"id": "", "name": name}]), newline=""))
    assert unescape_cell(cell) == name
    assert cell == name or name in HIDDEN_FORMULAS, "ordinary text is stored as it is"


@pytest.mark.parametrize("letter", "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
def test_a_name_that_is_displayed_in_another_order_is_refused(letter: str) -> None:
    assert name_problem(f"gp{letter}j.png") == "a bidirectional control character"


def test_stages_1_and_4_name_such_a_file(
    odd: Odd, segmented: Segmented, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(odd.root, tmp_path / "w"))
    images = root / "spine" / "images"
    shutil.copy(next(iter(images.iterdir())), images / "scan\u202egpj.png")
    assert run(stage1, root) == 2
    assert "images/scan\\u202egpj.png: a bidirectional control character" in capsys.readouterr().err
    code, rows = segmented(images, tmp_path / "out")
    failed = {name: row["reason"] for name, row in rows.items() if row["status"] == "failed"}
    assert code == 1 and list(failed) == ["scan\\u202egpj.png"] and "bidirectional" in failed["scan\\u202egpj.png"]
