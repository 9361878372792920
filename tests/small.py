"""Every task made small enough to train in seconds, and a folder of simulated images in the layout that it expects."""

from pathlib import Path
from typing import Any

import yaml

from sonoseg.phantom.__main__ import main as make_phantoms
from sonoseg.schema.task_files import load_task

PHANTOMS = {("MID", "VTB", "EPI"): "spine", ("HEAD",): "head", ("NERVE",): "nerve", ("TUMOR",): "tumour"}
"""Classes of a task -> the kind of phantom that shows them."""

NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {
        "name": "unet",
        "channels": [8, 16, 32],
        "strides": [2, 2],
        "residual_units": 1,
        "deep_supervision": [0.5],
    },
    "unet2015": {"name": "unet2015", "channels": [8, 16, 32]},
    "segnet": {"name": "segnet", "channels": [8, 16, 16], "convolutions": [2, 2, 1]},
    "attention_unet": {"name": "attention_unet", "arguments": {"channels": [8, 16, 32], "strides": [2, 2]}},
    "segresnet": {"name": "segresnet", "arguments": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}},
}


def small_task(name: str, folder: Path, epochs: int = 5, **changes: Any) -> Path:
    """Write a task file that extends the task and is the same in all but size; return its path."""
    task = load_task(name)
    network = dict(NETWORKS[task.network.name])
    size = [64, 96]
    if task.network.name == "unet2015":
        network |= {"padding": task.network.padding, "norm": task.network.norm, "target": task.network.target}
        if task.network.padding == "valid":
            network |= {"channels": [4, 8, 16, 32, 64]}
            size = [284, 284] if task.network.target == "cropped" else [220, 220]  # 100 pixels out: nine tiles
    if task.network.name == "segnet":
        network |= {"skip": task.network.skip}
    fields = {
        "extends": name,
        "name": f"small_{name}",
        "input": {"size": size},
        "augmentation": {"copies": min(1, task.augmentation.copies)},
        "split": {"test_size": 0.25, "folds": 3},
        "network": network,
        "training": {"epochs": epochs, "batch_size": 4, "patience": None, "optimizer": {"learning_rate": 0.005}},
    }
    path = folder / f"small_{name}.yaml"
    path.write_text(yaml.safe_dump(fields | changes))
    return path


def phantoms(name: str, folder: Path, images: int = 16) -> Path:
    """Make simulated images of what a task shows, unless they are there; return their folder."""
    kind = PHANTOMS[tuple(load_task(name).class_names)]
    out = folder / kind
    arguments = ["--kind", kind, "--out", str(out), "--images", str(images), "--seed", "5", "--size-scale", "0.3"]
    assert make_phantoms(arguments) == 0
    return out
