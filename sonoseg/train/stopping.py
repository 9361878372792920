"""A training that is asked to stop finishes its step first: SIGTERM of a cluster or a shutdown, Ctrl-C of a person."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from sonoseg.core.errors import Stopped

Check = Callable[[], None]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping_between_steps(checkpoint: Path, enabled: bool = True) -> Iterator[Check]:
    """Yield what raises Stopped once one of the signals has come; called where the state of a run can be saved.

    Whoever catches Stopped saves it to `checkpoint`, which its sentence names. A second signal does what it does
    elsewhere: it ends the process at once. Not `enabled`, or outside the main thread, signals are left as they are.
    """
    came: list[signal.Signals] = []
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number))
        put_back()

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def check() -> None:
        if came:
            raise Stopped(
                f"stopped by {came[0].name}; {checkpoint} holds the run as it is after this step: the same command "
                "with --resume goes on from there",
                128 + came[0],
            )

    if enabled and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler != signal.SIG_IGN:  # in the background of a script Ctrl-C is not for us
                before[number] = handler or signal.SIG_DFL
                signal.signal(number, note)
    try:
        yield check
        check()
    finally:
        put_back()
