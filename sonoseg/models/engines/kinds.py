"""The engines that run conversions, by name. Another one is a file of its own and a line here."""

from importlib.metadata import PackageNotFoundError, version

from sonoseg.models.engines.base import Kind
from sonoseg.models.engines.onnxruntime_engine import ONNXRUNTIME
from sonoseg.models.engines.openvino_engine import OPENVINO, OPENVINO_BF16

KINDS: dict[str, Kind] = {"openvino": OPENVINO, "onnxruntime": ONNXRUNTIME, "openvino_bf16": OPENVINO_BF16}


def installed() -> dict[str, str]:
    """Return engine -> version of those that are installed; nothing is imported to find out."""
    found = {name: version_of(kind.package) for name, kind in KINDS.items()}
    return {name: version for name, version in found.items() if version}


def version_of(package: str) -> str:
    """Return the version of an installed package, empty when it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
