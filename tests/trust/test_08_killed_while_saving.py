"""Check 8: killed at any moment, also while it saves, a run always leaves a checkpoint that can be loaded."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

KILLS = 50

DRIVER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from lightning_fabric import Fabric
from sonoseg.train.checkpoint import Progress, load_checkpoint, save_checkpoint

torch.set_num_threads(1)
folder, kills = Path(sys.argv[1]), int(sys.argv[2])
path = folder / "last.ckpt"

def parts():
    network = torch.nn.Linear(700, 700)
    return Fabric(accelerator="cpu", devices=1), network, torch.optim.Adam(network.parameters())

def write_for_ever(epoch):
    fabric, network, optimizer = parts()
    while True:
        epoch += 1
        with torch.no_grad():
            network.weight.fill_(epoch)
        save_checkpoint(path, fabric, network, optimizer, Progress("run", epoch), {"seed": 1})

rng, epochs = random.Random(8), [0]
for kill in range(kills):
    writer = os.fork()
    if writer == 0:
        write_for_ever(epochs[-1])
    while not path.exists():
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.06))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    fabric, network, optimizer = parts()
    epochs.append(load_checkpoint(path, fabric, network, optimizer, {"seed": 1}).epoch)
    assert (network.weight == epochs[-1]).all(), "parts of two checkpoints"
print(json.dumps({"epochs": epochs, "cut": sum(one.name != path.name for one in folder.iterdir())}))
"""


def test_fifty_kills(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path), str(KILLS)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    epochs = found["epochs"]
    assert len(epochs) == KILLS + 1 and epochs == sorted(epochs), "an older checkpoint came back"
    assert epochs[-1] > KILLS / 2, "nothing was saved between the kills"
    assert found["cut"] >= 5, "too few of the kills met a save"
