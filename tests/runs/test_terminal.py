"""What the scripts print: lines as they are, whatever they contain and however long they are."""

import pytest
from rich.table import Table

from sonoseg.runs.terminal import print_lines, progress_bar


def test_lines_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["a [bold]name[/bold] :heart: 1.5", "x" * 500]
    print_lines(lines)
    assert capsys.readouterr().out == "".join(f"{line}\n" for line in lines)
    print_lines([])
    assert capsys.readouterr().out == ""


def test_a_table_may_stand_between_lines(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("class", "Dice")
    table.add_row("HEAD", "0.97")
    print_lines(["before", table, "after"])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "before" and said[-1] == "after" and any("HEAD" in line and "0.97" in line for line in said)


def test_a_bar_yields_every_item_and_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_bar("abc", "letters", 3)) == ["a", "b", "c"] and list(progress_bar("", "none", 0)) == []
    assert capsys.readouterr().out.strip() == ""
