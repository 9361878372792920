"""Which images are worth labelling next: those of low expected Dice that are unlike each other and what is labelled."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sonoseg.prepare.duplicates.near_duplicates import similar_pairs
from sonoseg.types import Pixels

SHARE, LEAST = 0.5, 3
"""Of the candidates, the half of lowest expected Dice is considered, but at least so many times the number wanted."""

Embeddings = NDArray[np.float32]


def select(expected: Sequence[float], embeddings: Embeddings, labelled: Embeddings, count: int) -> list[int]:
    """Return the places of at most `count` candidates, in the order in which they are to be labelled.

    expected: Dice of each candidate, 0 to 1; embeddings: `(N, D)` of the candidates; labelled: `(M, D)` of the images
    that are labelled already, M may be 0. Among the candidates of lowest expected Dice (`SHARE`, `LEAST`) the k-centre
    greedy algorithm (Sener and Savarese 2018, "Active learning for convolutional neural networks: a core-set approach")
    takes the one that is farthest from all labelled and taken ones; it begins with the lowest expected Dice where
    nothing is labelled. Distances are Euclidean, of features with mean 0 and variance 1. No candidate gives none.
    """
    total = len(expected)
    if not total or count < 1:
        return []
    order = np.argsort(np.asarray(expected, dtype=float), kind="stable")
    pool = order[: max(LEAST * count, int(np.ceil(SHARE * total)))]
    vectors, centres = _standardised(embeddings, labelled)
    chosen: list[int] = []
    if len(centres):
        nearest = np.min([np.linalg.norm(vectors[pool] - centre, axis=1) for centre in centres], axis=0)
    else:
        chosen.append(int(pool[0]))
        nearest = np.linalg.norm(vectors[pool] - vectors[pool[0]], axis=1)
    free = np.array([place not in chosen for place in pool.tolist()])
    while len(chosen) < min(count, len(pool)):
        farthest = int(np.argmax(np.where(free, nearest, -1.0)))
        chosen.append(int(pool[farthest]))
        free[farthest] = False
        nearest = np.minimum(nearest, np.linalg.norm(vectors[pool] - vectors[pool[farthest]], axis=1))
    return chosen


def _standardised(embeddings: Embeddings, labelled: Embeddings) -> tuple[Embeddings, Embeddings]:
    together = np.concatenate([embeddings, labelled.reshape(-1, embeddings.shape[1])])
    deviation = together.std(axis=0)
    together = (together - together.mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1.0)
    return together[: len(embeddings)], together[len(embeddings) :]


def duplicates(thumbnails: Sequence[Pixels], labelled: int) -> set[int]:
    """Return the places of pictures that are almost equal to an earlier one.

    thumbnails: `(32, 32)` uint8 each; the first `labelled` are of labelled images, and never among the result.
    """
    if not thumbnails:
        return set()
    found = similar_pairs(thumbnails, [str(place) for place in range(len(thumbnails))], np.zeros(len(thumbnails), bool))
    later = np.maximum(found.first, found.second)
    return {int(place) for place in later if place >= labelled}
