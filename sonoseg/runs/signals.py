"""Signals that end a run: SIGTERM from a cluster or a shutdown, SIGINT from Ctrl-C."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from sonoseg.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)

REPEAT_SECONDS = 2.0
"""Within this time after the first Ctrl-C a further one is taken for the same."""


@contextmanager
def one_interrupt(ends_process: bool) -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt once, so that a second one does not interrupt what the first one ends.

    One that comes more than `REPEAT_SECONDS` later ends the process at once, as SIGKILL would. `ends_process`: after
    the block Ctrl-C is ignored, because Python would print a traceback from its own shutdown; otherwise it has its
    earlier effect.
    """
    first: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - first > REPEAT_SECONDS:
            os._exit(128 + signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    if before != signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # a background job of a shell ignores Ctrl-C, and a program that calls this has a handler of its own
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN if ends_process else before)


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
