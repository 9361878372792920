"""Processes that meet what happens to real ones: a crash of a decoder, one that never ends, too little memory."""

import os
import signal
import time

from sonoseg.archive.rows import FileRows
from sonoseg.archive.shards import Shard
from sonoseg.archive.worker import Problem, Ready, ShardWorker

POISON = {
    "crash": "001/00061.png",
    "endless": "002/00125.png",
    "memory": "003/00190.png",
}
"""What happens -> the image with which it does."""


class Poisoned(ShardWorker):
    """Meets all of `POISON`, in the decoder of the image."""

    def load(self) -> Ready | Problem:
        answer = super().load()
        real = FileRows.picture

        def picture(rows: FileRows, *arguments: object) -> object:
            name = rows.unit.name
            if name == POISON["crash"]:
                os.kill(os.getpid(), signal.SIGSEGV)
            if name == POISON["endless"]:
                time.sleep(1000)
            if name == POISON["memory"]:
                raise MemoryError
            return real(rows, *arguments)  # type: ignore[arg-type]

        FileRows.picture = picture  # type: ignore[method-assign, assignment]
        return answer


class Slow(ShardWorker):
    """Takes so long for each image that something can happen meanwhile."""

    def tick(self, shard: Shard) -> None:
        super().tick(shard)
        time.sleep(0.03)


class Other(ShardWorker):
    """Is on a node with another version of a package."""

    def load(self) -> Ready | Problem:
        answer = super().load()
        assert isinstance(answer, Ready)
        return Ready("node-7", "f" * 64, {**answer.versions, "numpy": "1.0"})


class Dying(ShardWorker):
    """Ends while it loads the models."""

    def load(self) -> Ready | Problem:
        os._exit(1)


class LostDrive(ShardWorker):
    """Is on a node that has lost its network drive."""

    def whole(self, shard: Shard) -> object:  # type: ignore[override]
        return Problem("machine", "the drive does not answer")
