"""Pictures that are no ultrasound of a head, drawn with fixed seeds: text, noise, gradients, scenes, other phantoms."""

from collections.abc import Callable

import cv2
import numpy as np

from sonoseg.phantom.dataset import plan
from sonoseg.phantom.layout import Settings
from sonoseg.types import Pixels

_SIZE = (540, 800)


def unrelated_pictures(count: int) -> list[Pixels]:
    """Return grey pictures `(H, W)` uint8, the kinds in turn; none has a single grey value."""
    kinds = list(_KINDS.values())
    return [kinds[index % len(kinds)](np.random.default_rng(index)) for index in range(count)]


def _page(rng: np.random.Generator) -> Pixels:
    page = np.full(_SIZE, 255, np.uint8)
    for row in range(30, _SIZE[0], 26):
        text = "".join(rng.choice(list("abcdefghiklmnoprstuw    ,."), int(rng.integers(20, 60))))
        cv2.putText(page, text, (20, row), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 0, 1, cv2.LINE_AA)
    return page


def _noise(rng: np.random.Generator) -> Pixels:
    return rng.integers(0, int(rng.integers(60, 257)), _SIZE, dtype=np.uint8)


def _black(rng: np.random.Generator) -> Pixels:
    picture = np.zeros(_SIZE, np.uint8)
    picture[tuple(rng.integers(0, 500, 2))] = 1
    return picture


def _gradient(rng: np.random.Generator) -> Pixels:
    rows, columns = np.indices(_SIZE)
    direction = rng.uniform(-1, 1, 2)
    slope = direction[0] * rows + direction[1] * columns
    return np.asarray(255 * (slope - slope.min()) / np.ptp(slope), np.uint8)


def _scene(rng: np.random.Generator) -> Pixels:
    """A photograph's like: sky, ground, and objects with shading and edges."""
    scene = cv2.GaussianBlur(_gradient(rng), (0, 0), 3) // 2 + 90
    for _ in range(int(rng.integers(5, 25))):
        centre, axes = rng.integers(0, 800, 2), rng.integers(10, 160, 2)
        grey, turn = int(rng.integers(20, 250)), int(rng.integers(0, 180))
        cv2.ellipse(scene, tuple(map(int, centre)), tuple(map(int, axes)), turn, 0, 360, grey, -1, cv2.LINE_AA)
        corner = rng.integers(0, 700, 2)
        cv2.rectangle(scene, tuple(map(int, corner)), tuple(map(int, corner + axes)), int(rng.integers(20, 250)), -1)
    grain = cv2.GaussianBlur(rng.normal(0, 1, _SIZE), (0, 0), 1.0) * 8
    return np.clip(scene + grain, 0, 255).astype(np.uint8)


def _clouds(rng: np.random.Generator) -> Pixels:
    clouds = cv2.GaussianBlur(rng.normal(0, 1, _SIZE), (0, 0), float(rng.uniform(2, 20)))
    return np.asarray(255 * (clouds - clouds.min()) / np.ptp(clouds), np.uint8)


def _phantom(kind: str) -> Callable[[np.random.Generator], Pixels]:
    def draw(rng: np.random.Generator) -> Pixels:
        (case,) = plan(Settings(kind=kind, images=1, seed=int(rng.integers(10_000)), size_scale=0.5))
        return case.simulate().image

    return draw


_KINDS: dict[str, Callable[[np.random.Generator], Pixels]] = {
    "page": _page,
    "noise": _noise,
    "black": _black,
    "gradient": _gradient,
    "scene": _scene,
    "clouds": _clouds,
    "spine": _phantom("spine"),
    "nerve": _phantom("nerve"),
}
