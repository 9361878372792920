"""Provenance: the record of a run that every stage writes, so that its results can be reproduced and explained."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoseg.io.files import sha256_of
from sonoseg.runs.checkout import checkout
from sonoseg.runs.versions import versions
from sonoseg.runs.workspace import EARLIER_RUNS
from sonoseg.schema.task import Task

GIT_SECONDS = 10
"""Time limit of each git command; a repository on a slow network drive is left out of the record."""


def settings_of_runs(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the settings of a `run.json`, then those of earlier runs with results in its folder, the latest first.

    Of earlier runs they are `images` and `workspace`. Empty for a record without settings.
    """
    settings = record.get("settings")
    if not isinstance(settings, dict):
        return []
    earlier = settings.get(EARLIER_RUNS)
    return [settings, *(run for run in (earlier if isinstance(earlier, list) else []) if isinstance(run, dict))]


def run_record(
    command: Sequence[str], task: Task, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> dict[str, Any]:
    """Return the record of a run as JSON values: command, task, settings, inputs, code, versions and threads.

    command: the command line. settings: the seed and other flags, as parsed. inputs: name -> SHA-256 of each input
    file. The record has no time stamp: the same run at the same place has the same record.
    """
    return {
        "command": list(command),
        "task": task.model_dump(mode="json"),
        "settings": dict(settings),
        "inputs": dict(sorted(inputs.items())),
        "code": code_state(checkout()),
        "versions": versions(),
        "threads": threads(),
    }


def is_run_record(path: Path) -> bool:
    """Return whether a file is the record of a run of any version."""
    try:
        return {"command", "versions"} <= json.loads(path.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def digests_of(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each named file of a folder that exists."""
    return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}


def code_state(folder: Path | None) -> dict[str, Any] | None:
    """Return the commit of a source tree, and whether its tracked files differ from it (`dirty`).

    None for an installed copy (`folder` is None), without a git repository in `folder`, or when git is missing or
    fails; then the record has only the versions.
    """
    if folder is None or not (folder / ".git").exists() or shutil.which("git") is None:
        return None  # only the folder itself: a repository that contains it belongs to another project
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changed)}


def _git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # takes no lock that would block a commit
    process = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True, text=True, timeout=GIT_SECONDS, check=True, env=environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return process.stdout.strip()


def threads() -> dict[str, int | None]:
    """Return the number of cores, of those this process may use, and of threads of each loaded library.

    The order of floating-point sums depends on the number of threads. None: the library is not loaded.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    loaded = {name: sys.modules.get(name) for name in ("torch", "cv2", "numba")}
    return {
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "torch": loaded["torch"].get_num_threads() if loaded["torch"] else None,
        "opencv": loaded["cv2"].getNumThreads() if loaded["cv2"] else None,
        # Not numba.get_num_threads(), which starts threads and with them sets the number that torch uses.
        "numba": loaded["numba"].config.NUMBA_NUM_THREADS if loaded["numba"] else None,
    }
