"""Many images: each worker thread processes one image at a time, from its file to its written results."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice

import cv2

from sonoseg.errors import MachineError, is_disk_full, is_machine_error, machine_error
from sonoseg.inference.process_image import InferenceRun, process_image
from sonoseg.inference.sources import Source
from sonoseg.inference.table import Row

_AHEAD = 4
"""Images per worker that are in progress or queued, so that a slow image seldom delays the others."""
_SPARE = 1
"""Workers beyond the number of cores: while a worker waits for the disk, another one uses its core."""


def process_images(sources: Sequence[Source], run: InferenceRun, workers: int) -> Iterator[Row]:
    """Process images and yield their rows of `results.csv`, in the order of `sources`; see `process_image`.

    The results do not depend on `workers`. Threads are used, because nearly all work is done outside of Python. An
    image that fails for lack of memory or another error of the machine is processed once more, alone, and its row has a
    `remark`. Raises MachineError when that fails too, and OSError when a result cannot be written. Then, and when the
    generator is closed, images in progress are completed and no further one is started.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # each image has one core; threads of OpenCV would compete for the others
    pool = ThreadPoolExecutor(workers + _SPARE if workers > 1 else 1)
    rows: deque[tuple[Source, Future[Row | MachineError]]] = deque()
    waiting, complete = iter(sources), 0
    try:
        while True:
            for source in islice(waiting, _AHEAD * workers - len(rows)):
                rows.append((source, _submit(pool, source, run)))
            if not rows:
                break
            source, future = rows.popleft()
            row = future.result()
            if isinstance(row, MachineError):
                wait(other for _, other in rows)
                again = _attempt(source, run)
                if isinstance(again, MachineError):
                    complete += sum(isinstance(other.result(), dict) for _, other in rows)
                    raise MachineError(f"{again}; {complete} of {len(sources)} images are complete")
                row = {**again, "remark": f"processed a second time, alone: {row}"}
            complete += 1
            yield row
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)


def _submit(pool: ThreadPoolExecutor, source: Source, run: InferenceRun) -> Future[Row | MachineError]:
    """Return the future of an image; it holds the error when no thread could be started."""
    try:
        return pool.submit(_attempt, source, run)
    except RuntimeError as error:
        if not is_machine_error(error):
            raise
        failed: Future[Row | MachineError] = Future()
        failed.set_result(machine_error(error, source.path))
        return failed


def _attempt(source: Source, run: InferenceRun) -> Row | MachineError:
    """Return the row of an image, or the error of the machine that prevented it.

    The error is returned and not raised: the traceback of the original would keep the arrays of the image in memory.
    """
    try:
        return process_image(source, run)
    except Exception as error:
        if is_disk_full(error) or not is_machine_error(error):
            raise
        return machine_error(error, source.path)
