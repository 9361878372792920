"""Many images: each worker thread processes one image at a time, from its file to its written results.

Loops are processed one after the other, each by all workers.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import groupby, islice

import cv2

from sonoseg.errors import MachineError, is_disk_full, is_machine_error, machine_error
from sonoseg.inference.cine.loop import process_loop
from sonoseg.inference.process_image import InferenceRun, process_image
from sonoseg.inference.sources import Source
from sonoseg.inference.table import Row

_AHEAD = 4
"""Images per worker that are in progress or queued, so that a slow image seldom delays the others."""
_SPARE = 1
"""Workers beyond the number of cores: while a worker waits for the disk, another one uses its core."""


def process_images(sources: Sequence[Source], run: InferenceRun, workers: int) -> Iterator[Row]:
    """Process images and loops and yield their rows of `results.csv`, in the order of `sources`.

    See `process_image` and `cine.loop.process_loop`. The results do not depend on `workers`. Threads are used, because
    nearly all work is done outside of Python. An image that fails for lack of memory or another error of the machine is
    processed once more, alone, and its row has a `remark`. Raises MachineError when that fails too, and OSError when a
    result cannot be written. Then, and when the generator is closed, images in progress are completed and no further
    one is started; a loop in progress is not completed, and its earlier results stay.
    """
    complete = 0
    for is_loop, group in groupby(sources, lambda source: source.loop is not None):
        progress = complete, len(sources)
        for row in (_process_loops if is_loop else _process_stills)(list(group), run, workers, progress):
            complete += 1
            yield row


def _process_loops(
    sources: Sequence[Source], run: InferenceRun, workers: int, progress: tuple[int, int]
) -> Iterator[Row]:
    for number, source in enumerate(sources):
        row = _attempt(source, partial(process_loop, source, run, workers))
        if isinstance(row, MachineError):
            again = _attempt(source, partial(process_loop, source, run, 1))
            if isinstance(again, MachineError):
                raise _ended(again, number, progress)
            row = {**again, "remark": f"processed a second time, one frame at a time: {row}"}
        yield row


def _process_stills(
    sources: Sequence[Source], run: InferenceRun, workers: int, progress: tuple[int, int]
) -> Iterator[Row]:
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
                again = _attempt(source, partial(process_image, source, run))
                if isinstance(again, MachineError):
                    complete += sum(isinstance(other.result(), dict) for _, other in rows)
                    raise _ended(again, complete, progress)
                row = {**again, "remark": f"processed a second time, alone: {row}"}
            complete += 1
            yield row
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)


def _ended(error: MachineError, complete: int, progress: tuple[int, int]) -> MachineError:
    """Return the error with how many images are complete; progress: those of the run before, and all."""
    before, total = progress
    return MachineError(f"{error}; {before + complete} of {total} images are complete")


def _submit(pool: ThreadPoolExecutor, source: Source, run: InferenceRun) -> Future[Row | MachineError]:
    """Return the future of an image; it holds the error when no thread could be started."""
    try:
        return pool.submit(_attempt, source, partial(process_image, source, run))
    except RuntimeError as error:
        if not is_machine_error(error):
            raise
        failed: Future[Row | MachineError] = Future()
        failed.set_result(machine_error(error, source.path))
        return failed


def _attempt(source: Source, process: Callable[[], Row]) -> Row | MachineError:
    """Return the row of an image, or the error of the machine that prevented it.

    The error is returned and not raised: the traceback of the original would keep the arrays of the image in memory.
    """
    try:
        return process()
    except Exception as error:
        if is_disk_full(error) or not is_machine_error(error):
            raise
        return machine_error(error, source.path)
