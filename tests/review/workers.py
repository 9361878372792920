"""What the process of the network does in tests: functions that another process can import quickly."""

import os
import time
from typing import Any

RECORD = {
    **{"image": "a.png", "frame": None, "width": 160, "height": 120, "spacing_mm": None, "spacing_from": "unknown"},
    **{"status": "ok", "reasons": [], "quality": 0.9, "confidence": {"HEAD": 0.9}, "model_sha256": "f" * 64},
    "shapes": [["HEAD", "ellipse", [[20, 60], [120, 60], [70, 30], [70, 90]]]],
    "measurements": {"hc_px": 250.0},
    "made_from": {"image_sha256": "", "region": None},
}


def finds_a_head(models: tuple[str, ...], device: str, image: Any) -> tuple[dict[str, Any], str]:
    return {**RECORD, "models": list(models), "process": os.getpid()}, ""


def ends_at_crash(models: tuple[str, ...], device: str, image: Any) -> tuple[dict[str, Any], str]:
    if "crash" in image.name:
        os._exit(3)
    if "slow" in image.name:
        time.sleep(60)
    if "refused" in image.name:
        return {}, "every pixel has the grey value 0"
    return finds_a_head(models, device, image)
