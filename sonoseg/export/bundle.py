"""A MONAI bundle: a folder from which MONAI alone runs the model (`python -m monai.bundle run`)."""

import io
import json
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

import safetensors.torch
import torch

from sonoseg import __version__
from sonoseg.errors import ModelError
from sonoseg.export.facts import facts_of
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import ModelHeader
from sonoseg.models.networks import whole_image
from sonoseg.models.networks.heads import output_channels
from sonoseg.schema.network import MONAI_NETWORKS, MonaiNetwork, UNet
from sonoseg.schema.task import Task

_TEMPLATES = Path(__file__).parent / "templates"
_WEIGHTS = "models/model.pt"
SCRIPT = "scripts/whole_image.py"
LABEL_MAPS = "label_maps"
"""Entry of the configuration that is the whole model: images -> label maps."""


def bundle_files(model: ModelHeader) -> dict[str, bytes]:
    """Return relative path -> content of a bundle. Raises ModelError for a network that is not one of MONAI's."""
    definition = _definition(model)
    names = _network(definition).state_dict()
    state = {name: tensor.contiguous() for name, tensor in load_network(model).state_dict().items() if name in names}
    weights = io.BytesIO()
    torch.save(state, weights)
    return {
        "configs/metadata.json": _json(_metadata(model)),
        "configs/inference.json": _json(_inference(model.task, definition)),
        _WEIGHTS: weights.getvalue(),
        "models/model.safetensors": safetensors.torch.save(state),
        "scripts/__init__.py": b"",
        SCRIPT: Path(whole_image.__file__).read_bytes(),
        "docs/README.md": _readme(model).encode(),
    }


def load_bundle(folder: Path) -> torch.nn.Module:
    """Return the model of a bundle as its configuration builds it: images `(B, 1, H, W)` -> label maps. The bundle's
    folder has to be on the path of modules.
    """
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser["bundle_root"], parser["device"] = str(folder), "cpu"
    network = parser.get_parsed_content("network")
    network.load_state_dict(torch.load(folder / _WEIGHTS, weights_only=True))
    label_maps: torch.nn.Module = parser.get_parsed_content(LABEL_MAPS)
    return label_maps.eval()


def _definition(model: ModelHeader) -> dict[str, Any]:
    """Return the entry `network_def`: a class of MONAI and its arguments."""
    settings, outputs = model.task.network, output_channels(len(model.task.structures))
    common = {"spatial_dims": 2, "in_channels": 1, "out_channels": outputs}
    if isinstance(settings, UNet):
        return {
            "_target_": "UNet",
            **common,
            "channels": list(settings.channels),
            "strides": list(settings.strides),
            "num_res_units": settings.residual_units,
            "norm": settings.norm,
            "dropout": settings.dropout,
        }
    if isinstance(settings, MonaiNetwork):
        return {"_target_": MONAI_NETWORKS[settings.name], **common, **settings.arguments}
    raise ModelError(f"{model.path}: the network {settings.name} is not one of MONAI's; export it to onnx instead")


def _network(definition: dict[str, Any]) -> torch.nn.Module:
    from monai.bundle import ConfigParser

    network: torch.nn.Module = ConfigParser({"network": definition}).get_parsed_content("network")
    return network


def _inference(task: Task, definition: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration: that of the template, with the network and the fit of the task."""
    configuration: dict[str, Any] = json.loads((_TEMPLATES / "inference.json").read_text(encoding="utf-8"))
    configuration["network_def"] = definition
    configuration[LABEL_MAPS] |= {
        "size": list(task.input.size),
        "fit": task.input.fit,
        "intensity": task.input.intensity,
        "threshold": task.postprocessing.threshold,
        "square_px": task.input.square_px or 0,
    }
    return configuration


def _metadata(model: ModelHeader) -> dict[str, Any]:
    facts = facts_of(model)
    task = model.task
    classes = {"0": "background"} | {str(value): name for value, name in enumerate(task.class_names, start=1)}
    picture = {"type": "image", "format": "magnitude", "modality": "US", "num_channels": 1, "is_patch_data": False}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": __version__,
        "changelog": {__version__: "exported by SonoSeg"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"pillow": version("pillow"), "pytorch-ignite": "0.5.2", "fire": "0.7.0"},
        "name": task.name,
        "task": task.title,
        "description": f"{task.title}: label maps of ultrasound images, {facts['notice']}",
        "authors": "SonoSeg",
        "copyright": facts.get("attribution", ""),
        "data_type": "png",
        "intended_use": f"Research; {facts['notice']}.",
        "sonoseg": facts,
        "network_data_format": {
            "inputs": {
                "image": {**picture, "spatial_shape": ["*", "*"], "dtype": "float32", "value_range": [0, 255]}
                | {"channel_def": {"0": "image"}}
            },
            "outputs": {
                "pred": {**picture, "format": "segmentation", "spatial_shape": ["*", "*"], "dtype": "uint8"}
                | {"value_range": [0, len(task.class_names)], "channel_def": classes}
            },
        },
    }


def _readme(model: ModelHeader) -> str:
    facts = facts_of(model)
    before = f"\nEnhance images before, as the model was trained: {facts['before']}.\n" if facts["before"] else ""
    licence = f"\nLicence {facts['licence']}. {facts['attribution']}\n" if "licence" in facts else ""
    text = Template((_TEMPLATES / "README.md").read_text(encoding="utf-8"))
    names = ", ".join(model.task.class_names)
    versions = {"sonoseg": __version__, "monai": version("monai")}
    return text.substitute(facts | versions | {"names": names, "before": before, "licence": licence})


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
