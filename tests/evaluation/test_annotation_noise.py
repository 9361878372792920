"""Errors of annotations and predictions, told apart by patients with several images."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.annotation_noise import estimate, interval, main, near


def simulated(patients: int, annotation: float, prediction: float, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = []
    for _ in range(patients):
        truth = rng.normal(rng.uniform(60, 330), 3, size=rng.integers(2, 4))
        noise = rng.normal(0, (annotation, prediction), (len(truth), 2))
        groups.append(truth[:, None] + noise)
    return groups


@pytest.mark.parametrize(("annotation", "prediction"), [(2.0, 1.0), (1.0, 2.5), (1.5, 0.0)])
def test_the_errors_are_those_of_the_simulation(annotation: float, prediction: float) -> None:
    groups = simulated(3000, annotation, prediction)
    noise = estimate(groups)
    variances = noise.annotation**2, noise.prediction**2
    assert variances == pytest.approx((annotation**2, prediction**2), abs=0.3)


def test_intervals_contain_the_error_in_most_simulations() -> None:
    found = [interval(simulated(130, 2.0, 1.5, seed)) for seed in range(60)]
    assert np.mean([low.annotation < 2 < high.annotation for low, high in found]) >= 0.85
    assert np.mean([low.prediction < 1.5 < high.prediction for low, high in found]) >= 0.85


def test_a_prediction_without_error_still_differs_from_the_annotations() -> None:
    groups = simulated(3000, 2.0, 0.0)
    differences = np.concatenate([values[:, 1] - values[:, 0] for values in groups])
    assert estimate(groups).least_error == pytest.approx(np.abs(differences).mean(), abs=0.1)


def test_patients_that_were_seen_weeks_apart_are_left_out() -> None:
    groups = [np.array([[100.0, 101], [103, 102]]), np.array([[100.0, 101], [130, 131]])]
    assert near(groups, 15) == groups[:1]


def test_the_command_reads_the_table_of_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "per_case.csv"
    rows = ["a,1,100,101", "b,1,103,104", "c,2,200,", "d,2,204,203", "e,3,50,51", "f,3,52,51"]
    table.write_text("id,patient,hc_mm_reference,hc_mm\n" + "\n".join(rows) + "\n")
    assert main([str(table)]) == 0
    assert "2 patients, 4 images, mean absolute error 1.00" in capsys.readouterr().out
    assert main([str(table), "--key", "bpd_mm"]) == 2
    assert "no column bpd_mm_reference, bpd_mm" in capsys.readouterr().err
