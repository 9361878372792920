"""Being asked to end: SIGTERM of a cluster or a shutdown, Ctrl-C of a person."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals_noted(enabled: bool = True) -> Iterator[list[signal.Signals]]:
    """Yield a list, empty until one of the signals has come: so that what is under way is finished first.

    A second signal does what it does elsewhere: it ends the process at once. Not `enabled`, or outside the main thread,
    signals are left as they are.
    """
    came: list[signal.Signals] = []
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number))
        put_back()

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    if enabled and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler != signal.SIG_IGN:  # in the background of a script Ctrl-C is not for us
                before[number] = handler or signal.SIG_DFL
                signal.signal(number, note)
    try:
        yield came
    finally:
        put_back()
