"""What happened to the inputs of `stress.fuzz`."""

import faulthandler
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sonoseg.errors import SonoSegError

SECONDS = 20
"""Time limit of an input; a longer one is taken for an endless loop and ends the run."""


class Findings:
    """The results of the inputs by kind, and the faults: inputs that raised an exception other than SonoSegError."""

    def __init__(self, keep: Path):
        self.keep, self.counts = keep, Counter[tuple[str, str]]()
        self.faults: list[str] = []

    def note(self, kind: str, work: Callable[[], Any], content: Callable[[], bytes]) -> None:
        """Call `work` on an input, and keep its `content` when it raises an exception other than SonoSegError."""
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=2)  # sys.stderr may be a test's
        try:
            work()
            self.counts[kind, "ok"] += 1
        except SonoSegError:
            self.counts[kind, "refused"] += 1
        except Exception as error:
            self.counts[kind, "FAULT"] += 1
            name = f"{kind.replace(' ', '_')}_{len(self.faults)}"
            self.keep.mkdir(parents=True, exist_ok=True)
            (self.keep / name).write_bytes(content())
            self.faults.append(f"{name}: {type(error).__name__}: {error}")
        finally:
            faulthandler.cancel_dump_traceback_later()
