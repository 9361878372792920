"""A training that is asked to stop finishes its step first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sonoseg.errors import Stopped
from sonoseg.runs.signals import deferred_signals

Check = Callable[[], None]


@contextmanager
def stopping_between_steps(checkpoint: Path, enabled: bool = True) -> Iterator[Check]:
    """Yield what raises Stopped once a signal has come; called where the state of a run can be saved.

    Whoever catches Stopped saves it to `checkpoint`, which its sentence names. See `deferred_signals`.
    """
    with deferred_signals(enabled) as came:

        def check() -> None:
            if came:
                raise Stopped(
                    f"stopped by {came[0].name}; {checkpoint} holds the run as it is after this step: the same command "
                    "with --resume goes on from there",
                    128 + came[0],
                )

        yield check
        check()
