"""Signals that end a run: SIGTERM from a cluster or a shutdown, SIGINT from Ctrl-C."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from sonoseg.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def deferred_signals(enabled: bool = True) -> Iterator[list[signal.Signals]]:
    """Yield a list that receives the first signal, so that work in progress can be completed before the run ends.

    A second signal has its usual effect and ends the process at once. When not `enabled`, or outside the main thread,
    signals keep their usual effect.
    """
    received: list[signal.Signals] = []
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    if enabled and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler != signal.SIG_IGN:  # a background job of a shell ignores Ctrl-C
                before[number] = handler or signal.SIG_DFL
                signal.signal(number, note)
    try:
        yield received
    finally:
        restore()


def stop_if_received(signals: list[signal.Signals]) -> None:
    """Raise Stopped with the exit code of the signal when `deferred_signals` has received one."""
    if signals:
        raise Stopped(f"stopped by {signals[0].name}", 128 + signals[0])
