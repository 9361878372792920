"""Enhancement of one ultrasound image: denoise, equalise contrast, sharpen edges; in training and inference alike."""

import cv2

from sonoseg.schema.images import Enhancement
from sonoseg.types import Pixels


def enhance(image: Pixels, steps: Enhancement) -> Pixels:
    """Return `image` (H, W) uint8 after the steps that the task names, in their fixed order; none leaves it as it is.

    Non-local means keeps edges where speckle repeats (Buades 2005); CLAHE bounds the gain so that noise in shadows is
    not blown up; unsharp masking adds back what a Gaussian takes away.
    """
    if steps.denoise:
        # Imported when needed: it compiles at the first run, and later takes a quarter of a second to load.
        from sonoseg.preprocess.denoise import denoise

        image = denoise(image, steps.denoise.strength, steps.denoise.template, steps.denoise.search)
    if steps.clahe:
        tiles = (steps.clahe.tiles, steps.clahe.tiles)
        image = cv2.createCLAHE(clipLimit=steps.clahe.clip, tileGridSize=tiles).apply(image)
    if steps.unsharp:
        amount = steps.unsharp.amount
        blurred = cv2.GaussianBlur(image, (0, 0), steps.unsharp.sigma)
        image = cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)
    return image
