"""Check 8: killed at any moment, also while it saves, a run always leaves a checkpoint that can be loaded.

Here the saving alone is killed, so that most kills meet it; `make killtest` kills the four scripts themselves.
"""

import json
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from tests.conftest import REPOSITORY

KILLS = 50

DRIVER = """
import json, os, random, resource, signal, sys, time
from pathlib import Path
import torch
from lightning_fabric import Fabric
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.training.checkpoint import load_checkpoint, save_checkpoint
from tests.training.setups import progress_of, setup_of

fabric, folder, kills = Fabric(accelerator="cpu", devices=1), Path(sys.argv[1]), int(sys.argv[2])
path = folder / "last.ckpt"

def setup():
    return setup_of(torch.nn.Linear(400, 400), fabric)

def save(epoch):
    training = setup()
    with torch.no_grad():
        training.network.weight.fill_(epoch)
    save_checkpoint(OutputFolder(folder, "stage3"), training, progress_of(training.network, epoch), {"seed": 1})

def loaded():
    training = setup()
    epoch = load_checkpoint(path, training, {"seed": 1}).epoch
    assert (training.network.weight == epoch).all(), "parts of two checkpoints"
    return epoch

def in_a_child(work):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return child

def until_full(size):
    # The kernel ends the process with the write that would make a file larger than this.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    save(2)

def for_ever(epoch):
    while True:
        epoch += 1
        save(epoch)

save(1)
whole = path.stat().st_size
cut = []
for size in (0, 1, whole // 10, whole // 2, whole * 99 // 100, whole - 1):
    ended = os.waitpid(in_a_child(lambda: until_full(size)), 0)[1]
    cut.append([size, os.WTERMSIG(ended), loaded()])

def is_saving(lying):
    return len(list(folder.iterdir())) > lying

began = time.perf_counter()
for _ in range(3):
    save(1)
seconds = (time.perf_counter() - began) / 3
rng, epochs, met = random.Random(8), [1], 0
for kill in range(kills):
    before, lying = path.stat().st_mtime_ns, len(list(folder.iterdir()))
    child = in_a_child(lambda: for_ever(epochs[-1]))
    while path.stat().st_mtime_ns == before and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.0005)
    time.sleep(rng.uniform(0, 2 * seconds))
    # How often a random moment meets a save depends on the machine: every second kill waits for one, seconds at most.
    latest = time.perf_counter() + 5
    while kill % 2 and not is_saving(lying) and time.perf_counter() < latest:
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    epochs.append(loaded())
    met += is_saving(lying)
print(json.dumps({"cut": cut, "epochs": epochs, "met": met}))
"""


def test_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path), str(KILLS)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    # In the middle of a write, after so many bytes: the one before is still there.
    assert [(number, epoch) for _, number, epoch in report["cut"]] == [(signal.SIGXFSZ, 1)] * 6
    # At random moments.
    epochs = report["epochs"]
    assert len(epochs) == KILLS + 1
    assert all(later > earlier for earlier, later in pairwise(epochs)), "an older checkpoint came back"
    assert report["met"] >= KILLS / 10, "too few kills during a save"
