"""From class probabilities to a label map: the rule that validation, evaluation and inference share."""

import cv2
import numpy as np

from sonoseg.types import Maps, Pixels


def class_map(probabilities: Maps, threshold: float = 0.5) -> Pixels:
    """Return labels `(H, W)` uint8 from class probabilities `(1 + K, H, W)` float32, background first.

    One class (K = 1): 1 where its probability is above `threshold`. Several classes: the index of the most probable
    class of each pixel, the first of equal ones; `threshold` is not used. NaN is never the most probable.
    """
    if len(probabilities) == 2:
        return (probabilities[1] > threshold).astype(np.uint8)
    # Equal to `probabilities.argmax(axis=0)`, which is slow along the first axis.
    labels, highest = np.zeros(probabilities.shape[1:], np.uint8), probabilities[0]
    for index, probability in enumerate(probabilities[1:], start=1):
        cv2.copyTo(np.full_like(labels, index), cv2.compare(probability, highest, cv2.CMP_GT), labels)
        highest = cv2.max(highest, probability)
    return labels
