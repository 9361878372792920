"""The versions of the software that decides results."""

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from sonoseg import __version__

PACKAGES = (
    "torch",
    "monai",
    "openvino",
    "onnxruntime",
    "lightning-fabric",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "numba",
    "scikit-image",
    "scikit-learn",
    "iterative-stratification",
    "safetensors",
    "pillow",
)


def versions() -> dict[str, str]:
    """Return the versions of Python, SonoSeg and the packages that decide results, without those not installed."""
    installed = {"python": platform.python_version(), "sonoseg": __version__}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):  # optional, or the other build of OpenCV
            installed[package] = version(package)
    return installed
