"""How a result was made: the record that every stage leaves of its run, so that it can be repeated and explained."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoseg.io.files import sha256_of
from sonoseg.runs.command_line import REPOSITORY
from sonoseg.runs.versions import versions
from sonoseg.schema.task import Task

GIT_SECONDS = 10
"""A checkout on a network drive that takes longer to answer is left out."""


def run_record(
    command: Sequence[str], task: Task, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> dict[str, Any]:
    """Return what JSON can hold of a run: command, task with all its settings, inputs, code, versions, threads.

    command: what was typed. settings: seed and other flags as they were understood. inputs: name -> SHA-256 of what was
    read. Holds no time: what is made again in the same way and place has the same record.
    """
    return {
        "command": list(command),
        "task": task.model_dump(mode="json"),
        "settings": dict(settings),
        "inputs": dict(sorted(inputs.items())),
        "code": code_state(),
        "versions": versions(),
        "threads": threads(),
    }


def digests_of(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of those of the files of a folder that are there."""
    return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}


def code_state(folder: Path = REPOSITORY) -> dict[str, Any] | None:
    """Return the commit of the checkout that runs, and whether its files differ from it (`dirty`).

    None when this is no checkout, or git is not there or does not answer: then the versions have to do.
    """
    if not (folder / ".git").exists() or shutil.which("git") is None:
        return None  # an installed package must not be taken for the project whose folder it lies in
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changed)}


def _git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # a look must not stand in the way of a commit
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True, text=True, timeout=GIT_SECONDS, check=True, env=environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout.strip()


def threads() -> dict[str, int | None]:
    """Return how many cores there are, how many this process may use, and the threads of the libraries it has loaded.

    Sums are added up in an order that depends on them. None: not loaded, so not used.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    loaded = {name: sys.modules.get(name) for name in ("torch", "cv2", "numba")}
    return {
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "torch": loaded["torch"].get_num_threads() if loaded["torch"] else None,
        "opencv": loaded["cv2"].getNumThreads() if loaded["cv2"] else None,
        "numba": loaded["numba"].get_num_threads() if loaded["numba"] else None,
    }
