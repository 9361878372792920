"""A segmenter in a forked process: a sentence within seconds, where the threads of an engine would be waited for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sonoseg.schema.task import Task
from tests.conftest import REPOSITORY
from tests.models.small_networks import saved, small

CODE = """
import os, sys
import numpy as np
from sonoseg.inference.segmenter import Segmenter
image = np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)
for engine in ("torch", "openvino"):
    segmenter = Segmenter.load(sys.argv[1], "cpu", engine)
    segmenter(image)
    calls = {
        "call": lambda: segmenter(image),
        "probabilities": lambda: segmenter.probabilities(image[..., 0]),
        "members": lambda: segmenter.member_probabilities(image[..., 0]),
        "variance": lambda: segmenter.mean_and_variance(image[..., 0]),
    }
    for name, call in calls.items():
        child = os.fork()
        if child == 0:
            try:
                call()
            except Exception as error:
                print(engine, name, type(error).__name__, error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    segmenter(image)
    print(engine, "the parent goes on", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_every_call_raises_in_a_forked_process(spine: Task, tmp_path: Path) -> None:
    model = saved(tmp_path / "m.safetensors", small(spine, "unet2015"))
    command = [sys.executable, "-c", CODE, str(model)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True) as done:
        try:
            said = done.communicate(timeout=60)[0].splitlines()
        finally:
            if done.poll() is None:
                os.killpg(done.pid, signal.SIGKILL)
    raised = "ModelError this segmenter was loaded before the process was forked"
    for engine in ("torch", "openvino"):
        *lines, last = [line for line in said if line.startswith(engine)]
        assert last == f"{engine} the parent goes on"
        for line, name in zip(lines, ("call", "probabilities", "members", "variance"), strict=True):
            assert line.startswith(f"{engine} {name} {raised}") and "spawn" in line
