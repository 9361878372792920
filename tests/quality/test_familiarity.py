"""Images that are not of the kind that a network was trained on."""

from pathlib import Path

import cv2
import numpy as np

from sonoseg.io.readers import read_image
from sonoseg.quality.familiarity import MIN_IMAGES, fit_familiarity, image_statistics
from tests.quality.unrelated import unrelated_pictures


def test_statistics_are_finite_for_any_image() -> None:
    for size in ((8, 8), (8, 3000), (540, 800)):
        for image in (np.zeros(size, np.uint8), np.full(size, 255, np.uint8)):
            assert np.isfinite(image_statistics(image)).all()


def test_unrelated_pictures_are_unfamiliar_and_heads_are_not(hc18: Path) -> None:
    paths = sorted(path for path in (hc18 / "training_set").glob("*HC.png"))
    statistics = [image_statistics(read_image(path).pixels) for path in paths[::3]]
    familiarity = fit_familiarity(statistics[: len(statistics) // 2])
    assert familiarity is not None
    distances = [familiarity.distance(one) for one in statistics[len(statistics) // 2 :]]
    assert np.mean(np.array(distances) > familiarity.limit) <= 0.01
    pictures = unrelated_pictures(100)
    far = [familiarity.distance(image_statistics(picture)) > familiarity.limit for picture in pictures]
    assert sum(far) >= 80  # the others are left to the expected Dice


def test_brightness_and_size_alone_do_not_make_an_image_unfamiliar(hc18: Path) -> None:
    paths = sorted((hc18 / "training_set").glob("*HC.png"))[::8]
    images = [read_image(path).pixels for path in paths]
    familiarity = fit_familiarity([image_statistics(image) for image in images])
    assert familiarity is not None
    for image in images[:20]:
        darker = np.rint(image * 0.85).astype(np.uint8)
        for changed in (darker, cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), image[:, ::-1]):
            assert familiarity.distance(image_statistics(np.ascontiguousarray(changed))) < familiarity.limit


def test_images_of_a_patient_stay_together() -> None:
    """Patients differ more than the images of one: parts that share patients would make the limit too low."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(20, 11))
    images = [means[index // 5] + 0.05 * rng.normal(size=11) for index in range(100)]
    apart = fit_familiarity(images, [str(index // 5) for index in range(100)])
    shared = fit_familiarity(images)
    assert apart is not None and shared is not None and apart.limit > 1.5 * shared.limit
    assert fit_familiarity(images, ["one"] * 100) is None


def test_few_images_have_no_range() -> None:
    rng = np.random.default_rng(0)
    assert fit_familiarity([rng.normal(size=11) for _ in range(MIN_IMAGES - 1)]) is None
    flat = fit_familiarity([np.ones(11) for _ in range(MIN_IMAGES)])  # no statistic varies
    assert flat is not None and flat.distance(np.ones(11)) == 0 < flat.limit
