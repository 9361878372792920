"""Many images at once: each worker takes one from its file to its written results, one core each."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import cv2

from sonoseg.inference.results import segment_source
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Source
from sonoseg.runs.output_folder import OutputFolder

_AHEAD = 4
"""Images per worker that are under way or wait for their turn: a slow one holds up the others only when it lasts longer
than so many."""
_SPARE = 1
"""Workers beyond the cores: what waits for the disk leaves a core to them."""


def segment_all(
    sources: Sequence[Source], segmenter: Segmenter, output: OutputFolder, heatmap: bool, workers: int, by: str = ""
) -> Iterator[dict[str, Any]]:
    """Segment images and yield their rows of `results.csv`, in the order of `sources`. See `segment_source`.

    The results do not depend on `workers`; threads suffice, as nearly all the work is done outside of Python. Nothing
    of an image is kept but its row. Raises OSError when a result cannot be written: images that were begun are
    finished, no further one is. The same holds when the caller stops asking, or is interrupted.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # each image has one core: OpenCV's own threads would be in each other's way
    pool = ThreadPoolExecutor(workers + _SPARE if workers > 1 else 1)
    rows: deque[Future[dict[str, Any]]] = deque()
    waiting = iter(sources)
    try:
        while True:
            begun = islice(waiting, _AHEAD * workers - len(rows))
            rows.extend(pool.submit(segment_source, source, segmenter, output, heatmap, by) for source in begun)
            if not rows:
                break
            yield rows.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)
