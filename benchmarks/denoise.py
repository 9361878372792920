"""The denoiser against OpenCV's, on one core and on all of them."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from benchmarks.compare import Figure, compare, matrix_product_rate
from benchmarks.samples import phantoms, pictures
from sonoseg.io.readers import read_image
from sonoseg.preprocess.denoise import denoise

SIZE, STRENGTH, TEMPLATE, SEARCH = (480, 640), 5.0, 7, 21
OPERATIONS = 9
"""Per pair of pixels: difference, square, two running sums with an addition and a subtraction each, a table look-up of
the weight, and for each pixel an addition to the sums of weights and of grey levels, with a common multiplication."""


def run(root: Path) -> Iterator[Figure]:
    """Yield the time for an image of 480x640 with one thread, as stage 2 works, and with all, as stage 4 does."""
    image = cv2.resize(read_image(pictures(phantoms(root, images=12))[0]).pixels, SIZE[::-1])
    expected = cv2.fastNlMeansDenoising(image, None, STRENGTH, TEMPLATE, SEARCH)
    different = int(np.count_nonzero(expected != denoise(image, STRENGTH, TEMPLATE, SEARCH)))
    pairs = image.size * ((SEARCH**2 - 1) // 2)
    rate = matrix_product_rate() / 2  # a multiplication and its addition count as two there
    all_threads = cv2.getNumThreads()
    for threads in sorted({1, all_threads}):
        cv2.setNumThreads(threads)
        before, after, ratio = compare(
            lambda: cv2.fastNlMeansDenoising(image, None, STRENGTH, TEMPLATE, SEARCH),
            lambda: denoise(image, STRENGTH, TEMPLATE, SEARCH),
        )
        yield Figure(
            name=f"non-local means, {threads} thread{'s' if threads > 1 else ''}",
            unit="image of 480x640",
            before=before,
            after=after,
            ratio=ratio,
            before_is="cv2.fastNlMeansDenoising",
            after_is="each pair of pixels compared once, in whole numbers, compiled by numba",
            target="faster, within 1 grey level",
            reached=ratio > 1 and different == 0,
            floor=f"{pairs * OPERATIONS / rate * all_threads / threads * 1000:.0f} ms",
            remains=f"{pairs / 1e6:.0f} million pairs, {after * threads / pairs * 1e9:.2f} ns of a core each; "
            f"{different} pixels differ. Floor: {OPERATIONS} operations a pair at the rate of a matrix product.",
        )
    cv2.setNumThreads(all_threads)
