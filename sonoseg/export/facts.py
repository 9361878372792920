"""What an exported model says about itself, as texts: ONNX and OpenVINO store them with the graph."""

import json
from importlib.metadata import version

from sonoseg import __version__
from sonoseg.models.model_header import ModelHeader
from sonoseg.models.registry import registered_models
from sonoseg.schema.images import Enhancement

NOTICE = "not for clinical use"
SPACING_RULE = (
    "label map and probabilities have the pixels of the image; a length in mm is the length in pixels times the mm per "
    "pixel of the image, which may differ between rows and columns"
)


def facts_of(model: ModelHeader) -> dict[str, str]:
    """Return name -> text: what the model is, what its classes are, and what its user has to know."""
    task, entry = model.task, next((one for one in registered_models() if one.sha256 == model.sha256), None)
    classes = [
        {"value": value, "name": structure.name, "shape": structure.shape, "color": structure.color}
        for value, structure in enumerate(task.structures, start=1)
    ]
    size = "x".join(map(str, task.input.size))
    facts = {
        "title": task.title,
        "task": task.name,
        "classes": json.dumps(classes, ensure_ascii=False),
        "rule": _class_rule(task.threshold),
        "input": f"{size} pixels, fit {task.input.fit}, intensity {task.input.intensity}",
        "before": steps_before(task.enhancement),
        "spacing": SPACING_RULE,
        "model_sha256": model.sha256,
        "versions": f"sonoseg {__version__}, torch {version('torch')}",
        "notice": NOTICE,
    }
    return facts | ({"licence": entry.licence, "attribution": entry.attribution} if entry else {})


def steps_before(steps: Enhancement) -> str:
    """Return the enhancement that has to be applied to an image before the graph; empty where there is none."""
    texts = []
    if steps.denoise:
        texts.append(
            f"non-local means (strength {steps.denoise.strength:g}, template {steps.denoise.template}, search "
            f"{steps.denoise.search})"
        )
    if steps.clahe:
        texts.append(f"CLAHE (clip limit {steps.clahe.clip:g}, {steps.clahe.tiles}x{steps.clahe.tiles} tiles)")
    if steps.unsharp:
        texts.append(f"unsharp mask (sigma {steps.unsharp.sigma:g}, amount {steps.unsharp.amount:g})")
    return ", then ".join(texts)


def _class_rule(threshold: float | None) -> str:
    if threshold is None:
        return "the label of a pixel is its most probable class, 0 for background"
    return f"the label of a pixel is 1 where the probability is above {threshold:g}"
