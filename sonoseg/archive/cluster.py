"""Shards on a Ray cluster: a pool of processes that each load the models once and make one shard at a time.

Ray places the processes and moves the messages; what is finished is decided by the shards that are there. A shard whose
process has ended without an answer is tried a second time, and then halved until the file is found that ends it.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sonoseg.archive.process import Outcome
from sonoseg.archive.rows import ArchiveRun, failed_file
from sonoseg.archive.shards import Shard
from sonoseg.archive.table import Written, write_shard
from sonoseg.archive.worker import FATAL, IMAGE, Problem, Ready, SentRun, ShardWorker
from sonoseg.errors import MachineError

IMAGE_SECONDS = 300.0
"""Time for a picture or frame, after which its process is ended."""
_TRIES = 2
_STARTS = 3
"""So many processes that end while they load the models, one after the other, end the run."""
_POLL_SECONDS = 1.0
_WAIT_SECONDS = 60.0
"""After this time without a process there is a note."""
_LOOK_SECONDS = 10.0
"""How often the size of the cluster is looked up."""


@dataclass(frozen=True)
class PoolSettings:
    """cpus, gpus: of each process, fractions allowed. most: number of processes at most, None for what the cluster has.

    seconds: see `IMAGE_SECONDS`. worker: the class whose methods are called.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    most: int | None = None
    seconds: float = IMAGE_SECONDS
    worker: type[ShardWorker] = ShardWorker


@dataclass
class Task:
    """Files `start` to `stop` of a shard; tries: how often a process has ended with them."""

    shard: Shard
    start: int
    stop: int
    tries: int = 0

    @property
    def is_whole(self) -> bool:
        return self.stop - self.start == len(self.shard.units)

    def __str__(self) -> str:
        if self.stop - self.start == 1:
            return self.shard.units[self.start].name
        return f"shard {self.shard.identity}, files {self.start + 1} to {self.stop} of {len(self.shard.units)}"


@dataclass
class _Partial:
    """A shard that was halved: what is known of its files so far."""

    shard: Shard
    outcome: Outcome = field(default_factory=Outcome)


class Pool:
    """An engine (`run.Engine`) on the cluster to which `ray` is connected. note: is given a sentence on each failure.

    At most one shard per process is on its way, so that memory stays the same for any number of images.
    """

    def __init__(self, ray: Any, run: ArchiveRun, settings: PoolSettings, note: Callable[[str], None]):
        self._ray, self._run, self._settings, self._note = ray, run, settings, note
        self._actor_class = ray.remote(num_cpus=settings.cpus, num_gpus=settings.gpus)(settings.worker)
        self._sent = SentRun.of(run)
        self._starting: dict[Any, Any] = {}  # reference of the answer -> process
        self._busy: dict[Any, tuple[Any, Task, float]] = {}
        self._idle: list[Any] = []
        self._nodes: dict[Any, str] = {}
        self._queue: deque[Task] = deque()
        self._partial: dict[str, _Partial] = {}
        self._failed_starts = 0
        self._size, self._looked = 0, float("-inf")
        self._alive: float | None = time.monotonic()  # when there last was a process; None after the note on it

    def __call__(self, shards: Iterator[Shard]) -> Iterator[Written]:
        """Make the shards. Raises MachineError when no process can be started, or one meets what ends the run."""
        try:
            following = next(shards, None)
            while following or self._queue or self._busy:
                self._start_processes(bool(following))
                while self._idle and (self._queue or following):
                    if self._queue:
                        self._give(self._queue.popleft())
                    elif following:
                        self._give(Task(following, 0, len(following.units)))
                        following = next(shards, None)
                waiting = [*self._starting, *self._busy]
                ready, _ = self._ray.wait(waiting, timeout=_POLL_SECONDS) if waiting else ([], [])
                self._watch()
                for reference in ready:
                    if reference in self._starting:
                        self._started(reference)
                    else:
                        yield from self._ended(reference)
        finally:
            self._close()

    def _watch(self) -> None:
        """Note once when no process has been there for a while."""
        if self._busy or self._idle:
            self._alive = time.monotonic()
        elif self._alive is not None and time.monotonic() - self._alive > _WAIT_SECONDS:
            missing = "processors or GPUs" if self._settings.gpus else "processors"
            self._note(f"no process could be started for {_WAIT_SECONDS:g} s: the cluster has no free {missing}")
            self._alive = None

    def _start_processes(self, more: bool) -> None:
        """Start as many processes as there is room and work for."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._size, self._looked = self._room(), time.monotonic()
        running = len(self._starting) + len(self._busy) + len(self._idle)
        wanted = self._size if more else min(self._size, len(self._busy) + len(self._queue))
        for _ in range(max(wanted, 1) - running):
            actor = self._actor_class.remote(self._sent, self._settings.seconds)
            self._starting[actor.load.remote()] = actor

    def _room(self) -> int:
        """Return the number of processes for which the cluster has processors; at least one, which then waits."""
        found = self._ray.cluster_resources()
        room = int(found.get("CPU", 0) / self._settings.cpus) if self._settings.cpus else 1 << 30
        if self._settings.gpus:
            room = min(room, int(found.get("GPU", 0) / self._settings.gpus))
        return max(1, room if self._settings.most is None else min(room, self._settings.most))

    def _started(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            node = _node_of(error)
            self._note(f"{node}: a process ended while it loaded the models: {_first_line(error)}")
            self._looked = float("-inf")
            if self._failed_starts >= _STARTS:
                raise MachineError(
                    f"{_STARTS} processes ended while they loaded the models, the last one on {node}: "
                    f"{_first_line(error)}; look into the logs of Ray, and run the same command again"
                ) from None
            return
        if isinstance(answer, Problem):
            raise MachineError(answer.text)
        self._check(answer)
        self._failed_starts = 0
        self._nodes[actor] = answer.host
        self._idle.append(actor)

    def _check(self, ready: Ready) -> None:
        """Raise MachineError for a node whose results would be others than those of this one."""
        if ready.fingerprint == self._run.fingerprint:
            return
        from sonoseg.runs.versions import versions

        here = versions()
        others = [
            f"{name} {ready.versions.get(name, 'missing')} instead of {here.get(name, 'missing')}"
            for name in sorted({*here, *ready.versions})
            if ready.versions.get(name) != here.get(name)
        ]
        what = ", ".join(others) or "another engine or device"
        raise MachineError(
            f"{ready.host}: its results would be others: {what}; install the same versions on every node"
        )

    def _give(self, task: Task) -> None:
        actor = self._idle.pop()
        shard = task.shard
        answer = actor.whole.remote(shard) if task.is_whole else actor.part.remote(shard, task.start, task.stop)
        self._busy[answer] = actor, task, time.monotonic()

    def _ended(self, reference: Any) -> Iterator[Written]:
        """Take the answer to a task; yield the shard that it completes."""
        actor, task, since = self._busy.pop(reference)
        host = self._nodes[actor]
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError:
            raise  # an error of the program
        except self._ray.exceptions.RayError as error:
            # A whole shard may well take longer than one of its files is given.
            late = task.stop - task.start == 1 and time.monotonic() - since >= self._settings.seconds
            what = f"no result after {self._settings.seconds:g} s" if late else "its process ended without an answer"
            self._note(f"{host}: {task}: {what} ({_first_line(error)})")
            self._ray.kill(actor)
            self._nodes.pop(actor)
            self._looked = float("-inf")
            cause = what if late else f"{what} (a crash of the decoder, or too little memory)"
            yield from self._failed(task, cause)
            return
        self._idle.append(actor)
        if isinstance(answer, Problem):
            self._note(f"{host}: {task}: {answer.text}")
            if answer.kind == FATAL or (answer.kind != IMAGE and task.tries + 1 >= _TRIES):
                raise MachineError(answer.text)
            yield from self._failed(task, answer.text)
        elif isinstance(answer, Written):
            yield answer
        else:
            yield from self._found(task, answer)

    def _failed(self, task: Task, cause: str) -> Iterator[Written]:
        """Try a task again, halve it, or take its only file for failed."""
        task.tries += 1
        if task.tries < _TRIES:
            self._queue.append(task)
        elif task.stop - task.start > 1:
            middle = (task.start + task.stop) // 2
            for start, stop in ((task.start, middle), (middle, task.stop)):
                self._queue.append(Task(task.shard, start, stop, tries=0 if stop - start == 1 else _TRIES - 1))
        else:
            unit = task.shard.units[task.start]
            row = failed_file(unit, f"{self._run.root / unit.name}: failed twice: {cause}")
            yield from self._found(task, Outcome({task.start: [row]}))

    def _found(self, task: Task, outcome: Outcome) -> Iterator[Written]:
        """Add what was found in a part of a shard; write and yield the shard when all parts are there."""
        partial = self._partial.setdefault(task.shard.identity, _Partial(task.shard))
        partial.outcome.add(outcome)
        if len(partial.outcome.rows) == len(partial.shard.units):
            del self._partial[task.shard.identity]
            yield write_shard(partial.shard, partial.outcome, self._run)

    def _close(self) -> None:
        for actor in [*self._starting.values(), *self._idle, *(actor for actor, _, _ in self._busy.values())]:
            self._ray.kill(actor)


def _node_of(error: BaseException) -> str:
    """Return the address of the node on which a process has ended, from Ray's error: it has told no name yet."""
    address = re.search(r"^\s*ip: (\S+)$", str(error), re.MULTILINE)
    return f"node {address[1]}" if address else "an unknown node"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
