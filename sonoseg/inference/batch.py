"""Many images: each worker thread processes one image at a time, from its file to its written results."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import cv2

from sonoseg.inference.process_image import InferenceRun, process_image
from sonoseg.inference.sources import Source
from sonoseg.inference.table import Row

_AHEAD = 4
"""Images per worker that are in progress or queued, so that a slow image seldom delays the others."""
_SPARE = 1
"""Workers beyond the number of cores: while a worker waits for the disk, another one uses its core."""


def process_images(sources: Sequence[Source], run: InferenceRun, workers: int) -> Iterator[Row]:
    """Process images and yield their rows of `results.csv`, in the order of `sources`; see `process_image`.

    The results do not depend on `workers`. Threads are used, because nearly all work is done outside of Python. Raises
    OSError when a result cannot be written. Then, and when the generator is closed, images in progress are completed
    and no further one is started.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # each image has one core; threads of OpenCV would compete for the others
    pool = ThreadPoolExecutor(workers + _SPARE if workers > 1 else 1)
    rows: deque[Future[Row]] = deque()
    waiting = iter(sources)
    try:
        while True:
            started = islice(waiting, _AHEAD * workers - len(rows))
            rows.extend(pool.submit(process_image, source, run) for source in started)
            if not rows:
                break
            yield rows.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)
