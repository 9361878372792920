"""Which software made a result."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "sonoseg",
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
    """Return the versions of Python and of the packages that decide results; those not installed are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout, or the other build of OpenCV
            continue
    return found
