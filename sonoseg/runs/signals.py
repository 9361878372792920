"""Signals that end a run: SIGTERM from a cluster or a shutdown, SIGINT from Ctrl-C."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from sonoseg.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)

REPEAT_SECONDS = 2.0
"""Within this time after the first Ctrl-C a further one is taken for the same."""
RAISED_AGAIN_SECONDS = 0.01
"""Time after which an interrupt that Python has dropped is raised again: the callback that it fell into is over."""
ENDING_SECONDS = 10.0
"""Time that a process gets to complete what is in progress."""


@contextmanager
def one_interrupt(ends_process: bool, message: str) -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt once, so that a second one does not interrupt what the first one ends.

    `ends_process`: the process ends after the block. It then ends at once, with `message` and exit code 130, at a
    Ctrl-C more than `REPEAT_SECONDS` after the first, and `ENDING_SECONDS` after the first also where a library has
    caught the exception, or a thread waits for a lock of an import that the exception has interrupted. Nothing is half
    written then, as after SIGKILL. After the block Ctrl-C is ignored, because Python would print a traceback of its own
    shutdown. Otherwise Ctrl-C has its earlier effect after the block.
    """
    first: float | None = None
    said = False

    def end_at_once() -> None:
        if not said:
            with suppress(OSError):
                os.write(2, f"{message}\n".encode())
        os._exit(128 + signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first
        repeated = first is not None and time.monotonic() - first < REPEAT_SECONDS
        if ends_process and first is not None and not repeated:
            end_at_once()
        if not repeated:
            first = time.monotonic()
            if ends_process:
                timer = threading.Timer(ENDING_SECONDS, end_at_once)
                timer.daemon = True
                timer.start()
            raise KeyboardInterrupt

    def raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
        """Interrupt again where Python drops the exception, as in a callback of the garbage collector."""
        nonlocal first
        if unraisable.exc_type is not KeyboardInterrupt:
            return hook(unraisable)
        first = None
        return threading.Timer(RAISED_AGAIN_SECONDS, signal.pthread_kill, (main, signal.SIGINT)).start()

    before, hook, main = signal.getsignal(signal.SIGINT), sys.unraisablehook, threading.main_thread().ident
    if before != signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # a background job of a shell ignores Ctrl-C, and a program that calls this has a handler of its own
        return
    signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        said = True
        sys.unraisablehook = hook
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
