"""The node at work: it receives in threads, processes one image after the other, and sends in a thread of its own."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread

from sonoseg.dicom.node.receive import start_receiver
from sonoseg.dicom.node.send import send_due
from sonoseg.dicom.node.settings import NodeSettings
from sonoseg.dicom.node.spool import Spool, SpoolError
from sonoseg.dicom.node.status import start_status_page
from sonoseg.errors import DataError, MachineError, is_machine_error, machine_error

Process = Callable[[Path, Path], list[Path]]
"""From an image file and a folder that exists to the DICOM files that were written there; raises DataError."""
_IDLE_SECONDS = 0.5
_SHORTAGE_SECONDS = 10.0
"""Wait after memory or disk have run out."""


class Node:
    """A node that is listening. One line of text per image is what `run` yields; it contains nothing of a header."""

    def __init__(self, settings: NodeSettings, process: Process):
        """Open the spool and listen. Raises UsageError for wrong settings, MachineError when a port cannot be had."""
        settings.check()
        self.settings, self._process = settings, process
        self._arrived, self._stopping = Event(), Event()
        self.spool = Spool(settings.spool)
        with ExitStack() as stack:
            stack.callback(self.spool.close)
            self._receiver = start_receiver(settings, self.spool, self._arrived.set)
            stack.callback(self._receiver.shutdown)
            self._status_page = None
            if settings.status_port is not None:
                self._status_page = start_status_page(settings.status_port, self.spool.counts)
            stack.pop_all()
        self._sender = Thread(target=self._send, daemon=True)
        self._sender.start()

    def run(self, stop: Callable[[], object]) -> Iterator[str]:
        """Process images as they arrive, until `stop()` is true; what is in progress then is completed.

        Shortages of the machine, and a database that cannot be written, are waited for. Raises DataError for one that
        is damaged.
        """
        while not stop():
            try:
                key = self.spool.begin_next()
            except SpoolError as error:
                yield f"{error}; trying again"
                self._pause(stop)
                continue
            if key is None:
                self._arrived.wait(_IDLE_SECONDS)
                self._arrived.clear()
                continue
            try:
                line, record = self._process_image(key)
            except Exception as error:
                if not _is_shortage(error):
                    raise
                line = f"{key}: {_shortage(error, self.spool.image(key))}; trying again"
                record = partial(self.spool.give_back, key)
                self._pause(stop)
            yield from self._recorded(record, stop)
            yield line

    def _recorded(self, record: Callable[[], None], stop: Callable[[], object]) -> Iterator[str]:
        """Record what came of an image, as soon as the database can be written."""
        while True:
            try:
                return record()
            except SpoolError as error:
                yield f"{error}; trying again"
                self._pause(stop)
                if stop():
                    return

    def _pause(self, stop: Callable[[], object]) -> None:
        end = time.monotonic() + _SHORTAGE_SECONDS
        while not stop() and time.monotonic() < end:
            time.sleep(min(_IDLE_SECONDS, _SHORTAGE_SECONDS))

    def _process_image(self, key: str) -> tuple[str, Callable[[], None]]:
        """Return a line of text on what came of an image, and the function that records it."""
        folder = self.spool.results / key
        shutil.rmtree(folder, ignore_errors=True)  # what an attempt has left that was killed
        folder.mkdir()
        try:
            results = self._process(self.spool.image(key), folder)
        except Exception as error:
            if _is_shortage(error):
                raise
            reason = error.reason if isinstance(error, DataError) else f"unexpected {type(error).__name__}"
            return f"{key}: failed: {reason}", partial(self.spool.fail, key, reason)
        to_send = self.settings.destination is not None
        return f"{key}: {len(results)} results", partial(self.spool.complete, key, results, to_send)

    def _send(self) -> None:
        while not self._stopping.wait(_IDLE_SECONDS):
            try:
                send_due(self.settings, self.spool, self._stopping.is_set)
            except Exception as error:  # the thread goes on: what was not recorded as sent is due again
                self._stopping.wait(_SHORTAGE_SECONDS if _is_shortage(error) else _IDLE_SECONDS)

    def close(self) -> None:
        """End all threads; what is being sent is completed."""
        self._receiver.shutdown()
        self._stopping.set()
        self._sender.join()
        if self._status_page:
            self._status_page.shutdown()
            self._status_page.server_close()
        self.spool.close()


def _is_shortage(error: Exception) -> bool:
    """Return whether an error is the machine's, also where stage 4 or the spool has made it a sentence already."""
    return isinstance(error, MachineError) or is_machine_error(error)


def _shortage(error: Exception, image: Path) -> str:
    """Return such an error as a sentence that does not begin with the path of the image."""
    found = error if isinstance(error, MachineError) else machine_error(error)
    return str(found).removeprefix(f"{image}: ")


@contextmanager
def started(settings: NodeSettings, process: Process) -> Iterator[Node]:
    """Start a node and close it at the end of the block."""
    node = Node(settings, process)
    try:
        yield node
    finally:
        node.close()
