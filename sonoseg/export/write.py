"""An export is made, compared with its model, and only then written; its digest is noted in the model card."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from sonoseg.errors import UsageError
from sonoseg.export.bundle import bundle_files, load_bundle
from sonoseg.export.check import Exported, check_export
from sonoseg.export.graph import onnx_file, openvino_files
from sonoseg.io.files import new_folder, write_bytes, write_text
from sonoseg.models.engines.openvino_engine import openvino_core
from sonoseg.models.model_header import ModelHeader
from sonoseg.runs.workspace import MODEL_CARD
from sonoseg.types import Pixels

_HEADING = "## Exports"


@dataclass(frozen=True)
class Export:
    """An export that was written.

    path: its file, that with the suffix `.xml` for OpenVINO, or its folder. digests: name of each file -> SHA-256.
    agreement: fraction of the pixels of simulated images that get the label which torch gives them. card: the model
    card that names it now; None where the model has none.
    """

    path: Path
    digests: dict[str, str]
    agreement: float
    card: Path | None


def check_target(to: str, out: Path) -> None:
    """Raise UsageError for a path that exists, or has another suffix than the format `to`."""
    suffix = FORMATS[to].suffix
    if out.suffix != suffix and suffix:
        raise UsageError(f"{out}: expected a name that ends in {suffix}; choose another one")
    for path in (out, out.with_suffix(".bin")) if to == "openvino" else (out,):
        if path.exists():
            raise UsageError(f"{path}: exists already; nothing is overwritten, choose another one or remove it")


def export(model: ModelHeader, to: str, out: Path) -> Export:
    """Write a model in the format `to`, a key of `FORMATS`, and note it in the model card beside the model.

    Raises UsageError as `check_target` does, and where a package is missing; ModelError when the export does not agree
    with the model, or the format cannot hold its network; then nothing is written. Raises OSError.
    """
    check_target(to, out)
    files = FORMATS[to].make(model)
    with FORMATS[to].loaded(files) as run:
        agreement = check_export(model, run, to)
    if FORMATS[to].suffix:
        paths = [write_bytes(out.with_suffix(suffix), data) for suffix, data in files.items()]
    else:
        paths = [out / name for name in files]
        with new_folder(out) as made:
            for name, data in files.items():
                write_bytes(made / name, data)
    names = [str(path.relative_to(out.parent)) for path in paths]
    digests = {name: sha256(data).hexdigest() for name, data in zip(names, files.values(), strict=True)}
    return Export(out, digests, agreement, _note(model, to, digests, agreement))


def _note(model: ModelHeader, to: str, digests: Mapping[str, str], agreement: float) -> Path | None:
    """Add a line to the section of exports of the model card; return the card, None where there is none."""
    card = model.path.parent / MODEL_CARD
    if not card.is_file():
        return None
    text = card.read_text(encoding="utf-8", errors="replace").rstrip()
    before = "" if _HEADING in text else f"\n\n{_HEADING}\n"
    files = "; ".join(f"`{name}` SHA-256 {digest}" for name, digest in digests.items())
    line = f"* {to} of model {model.sha256[:12]}, {agreement:.3%} of the pixels as torch: {files}"
    return write_text(card, f"{text}{before}\n{line}\n")


@contextmanager
def _run_onnx(files: Mapping[str, bytes]) -> Iterator[Exported]:
    import onnxruntime

    session = onnxruntime.InferenceSession(files[".onnx"], providers=["CPUExecutionProvider"])
    yield lambda image: session.run(["mask"], {"image": image})[0]


@contextmanager
def _run_openvino(files: Mapping[str, bytes]) -> Iterator[Exported]:
    core = openvino_core()
    compiled = core.compile_model(
        core.read_model(files[".xml"], files[".bin"]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    yield lambda image: compiled(image)["mask"]


@contextmanager
def _run_bundle(files: Mapping[str, bytes]) -> Iterator[Exported]:
    with TemporaryDirectory() as folder:
        for name, data in files.items():
            write_bytes(Path(folder) / name, data)
        earlier = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "scripts"}
        for name in earlier:
            del sys.modules[name]
        sys.path.insert(0, folder)  # MONAI finds a bundle's own code as the package `scripts`
        try:
            label_maps = load_bundle(Path(folder))

            def run(image: Pixels) -> Pixels:
                with torch.inference_mode():
                    return np.asarray(label_maps(torch.from_numpy(image)[None, None].float())[0, 0])

            yield run
        finally:
            sys.path.remove(folder)
            for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
                del sys.modules[name]
            sys.modules.update(earlier)


@dataclass(frozen=True)
class _Format:
    """make: model -> files by suffix, or by their names in a folder where `suffix` is empty; loaded: runs them."""

    suffix: str
    make: Callable[[ModelHeader], Mapping[str, bytes]]
    loaded: Callable[[Mapping[str, bytes]], Any]


FORMATS = {
    "onnx": _Format(".onnx", lambda model: {".onnx": onnx_file(model)}, _run_onnx),
    "openvino": _Format(".xml", openvino_files, _run_openvino),
    "bundle": _Format("", bundle_files, _run_bundle),
}
"""Formats of exports by name."""
