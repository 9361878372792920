"""Faults are grouped by kind, and many of one kind become one line."""

import pytest

from sonoseg.io.faults import KINDS, FaultsError, error, group_faults, stop_on_errors, warning


def empty(count):
    return [warning(f"{index:04}.png", "its mask is empty", "empty") for index in range(count)]


def test_many_are_one_line_and_few_are_their_own():
    (group,) = group_faults(empty(3000))
    (line,) = group.lines()
    assert line.startswith("(warning) 3000 empty masks: nothing is annotated (0000.png, 0001.png, 0002.png")
    assert len(group.faults) == 3000
    (group,) = group_faults(empty(4))
    assert group.lines()[0] == "(warning) 0000.png: its mask is empty" and len(group.lines()) == 4


def test_faults_that_one_setting_decides_about_are_one_line():
    (group,) = group_faults([error(name, "has no mask", "without_mask") for name in "ab"])
    (line,) = group.lines()
    assert line.startswith("2 images without a mask, or without one of a structure (a, b); set annotations.without_ann")
    (group,) = group_faults([error("a", "has no mask", "without_mask")])
    assert group.lines() == ["a: has no mask"]


def test_faults_of_no_kind_are_never_grouped():
    (group,) = group_faults([warning(f"{index}", "odd") for index in range(30)])
    assert len(group.lines()) == 30


def test_the_most_serious_come_first():
    faults = [*empty(2), warning("x", "odd"), warning("a", "alike", "alike_across"), error("b", "no mask", "no_mask")]
    assert [group.kind for group in group_faults(faults)] == ["no_mask", "alike_across", "empty", ""]


def test_the_end_lists_groups_and_counts_errors():
    faults = [*empty(9), *(error(f"{index}.png", "has no mask", "no_mask") for index in range(200))]
    with pytest.raises(FaultsError) as caught:
        stop_on_errors("data", faults, hint="; and so on")
    said = str(caught.value).splitlines()
    assert said[0].startswith("data: 200 faults found and nothing was written") and said[0].endswith("and so on")
    assert len(said) == 3 and "200 images without a mask" in said[1] and "9 empty masks" in said[2]
    stop_on_errors("data", empty(9))


def test_a_further_remedy_is_added_to_the_lines_of_its_kind():
    faults = [*empty(2), *(error(f"{index}.png", "has no mask", "no_mask") for index in range(9))]
    with pytest.raises(FaultsError) as caught:
        stop_on_errors("data", faults, remedies={"no_mask": "; or --so", "full": "; or --not"})
    lines = str(caught.value).splitlines()[1:]
    assert lines[0].endswith("add the masks, or remove the images; or --so")
    assert lines[1:] == [f"  - {line}" for line in group_faults(empty(2))[0].lines()]


def test_faults_are_listed_and_the_rest_is_counted():
    faults = [error(f"f{index:02}", "odd") for index in range(25)]
    problem = FaultsError("faults:", faults)
    assert "f19: odd" in str(problem) and "f20" not in str(problem) and "and 5 more" in str(problem)
    assert problem.faults == tuple(faults)


def test_every_kind_that_is_used_is_known():
    import re
    from pathlib import Path

    import sonoseg.prepare

    sources = "\n".join(path.read_text() for path in Path(sonoseg.prepare.__path__[0]).rglob("*.py"))
    used = set(re.findall(r'(?:error|warning)\((?:[^()]|\([^()]*\))*, "(\w+)"(?:, [^()]*)?\)', sources))
    assert len(used) > 20 and used <= set(KINDS)
