"""The lines of the overlay: values, intervals, and the spread of a formula."""

from dataclasses import replace

import numpy as np

from sonoseg.geometry.points import Ellipse
from sonoseg.inference.cine.summary import Frame, summarise
from sonoseg.inference.text import measurement_lines
from sonoseg.postprocess.interpret import measure_labels
from sonoseg.schema.task import Task
from tests.geometry import drawn_shapes as drawn

NOTE = "two standard deviations of the formula: 3.0 weeks (Hadlock et al. 1984)"


def test_an_interval_and_the_spread_of_the_gestational_age_stand_beside_the_values(fetal_head: Task) -> None:
    labels = drawn.ellipse((300, 400), Ellipse(200, 150, 240, 190, 0)).astype(np.uint8)
    findings = measure_labels(labels, np.zeros_like(labels), fetal_head, (0.45, 0.45))
    findings = replace(findings, intervals={"hc_mm": (290.04, 310.0)})
    age, hc = (findings.measurements[key] for key in ("gestational_age_weeks", "hc_mm"))
    assert age.value is not None and 30 < age.value < 36 and age.two_sd == 3.0 and age.note == NOTE
    lines = measurement_lines(findings)
    assert f"HC {hc.value:.1f} (290.0 to 310.0) mm" in lines
    assert lines[-1] == f"gestational age {age.value:.1f} weeks (2 SD of the formula: 3.0)"
    assert all("(" not in line for line in lines[1:-1])


def test_the_age_of_a_loop_has_the_note_of_its_own_range(fetal_head: Task) -> None:
    ages = (33.0, 34.0, 37.0)
    frames = [Frame(n, "ok", quality=0.9, measurements={"gestational_age_weeks": age}) for n, age in enumerate(ages, 1)]
    assert summarise(frames, fetal_head.quantities).notes["gestational_age_weeks"] == NOTE
