"""Plans nnU-Net's network for a data set and times nnU-Net's predictor; run by `benchmarks.nnunet`, in its environment.

Needs nnunetv2, and nothing of SonoSeg. Prints one line of JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, plan_experiment_dataset
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

CHECKPOINT = "checkpoint_final.pth"


def planned_model(root: Path, folder: Path) -> dict[str, Any]:
    """Plan a network for data set 1, write it with random weights as a trained model, and return facts about it."""
    extract_fingerprint_dataset(1, num_processes=2, verbose=False, show_progress_bar=False)
    plans, _ = plan_experiment_dataset(1)
    name = plans["dataset_name"]
    manager = PlansManager(plans)
    configuration = manager.get_configuration("2d")
    network = nnUNetTrainer.build_network_architecture(manager, configuration, 1, 2, enable_deep_supervision=False)
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_bytes((root / "raw" / name / "dataset.json").read_bytes())
    checkpoint = {
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "2d"},
        "network_weights": network.state_dict(),
        "inference_allowed_mirroring_axes": (0, 1),
    }
    torch.save(checkpoint, folder / "fold_0" / CHECKPOINT)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    return {"patch": list(configuration.patch_size), "millions": round(millions, 1), "torch": torch.__version__}


def seconds_per_image(model: Path, files: list[Path], out: Path, mirrored: bool) -> float:
    """Return the time of an image without that of the start: all files, less one file alone."""
    predictor = nnUNetPredictor(use_mirroring=mirrored, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,), CHECKPOINT)
    taken = []
    for some in (files[:1], files):
        out.mkdir(parents=True, exist_ok=True)
        targets = [str(out / path.stem) for path in some]
        started = time.monotonic()
        predictor.predict_from_files([[str(path)] for path in some], targets, True, True, 1, 1)
        taken.append(time.monotonic() - started)
    return (taken[1] - taken[0]) / (len(files) - 1)


def main(root: Path) -> None:
    model = root / "results" / "model"
    found = planned_model(root, model)
    files = sorted((root / "images").iterdir())
    for name, mirrored in (("plain", False), ("mirrored", True)):
        found[name] = seconds_per_image(model, files, root / name, mirrored)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
