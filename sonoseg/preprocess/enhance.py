"""Enhancement of an ultrasound image, in training and inference: denoising, CLAHE, unsharp masking."""

import cv2

from sonoseg.schema.images import Enhancement
from sonoseg.types import Pixels


def enhance(image: Pixels, steps: Enhancement) -> Pixels:
    """Return `image` `(H, W)` uint8 after the steps of the task, in their fixed order; without steps the image itself.

    Non-local means reduces speckle and keeps edges (Buades 2005). CLAHE limits the gain, so that noise in shadows is
    not amplified. Unsharp masking adds the difference from a Gaussian-blurred image.
    """
    if steps.denoise:
        # Imported late: loading the compiled code takes a quarter of a second, and compiling it more.
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
