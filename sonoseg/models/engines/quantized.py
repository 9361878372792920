"""The conversion of a network with weights and activations of 8 bits, stored beside the model like the others.

It is made from training images and compared with the model on validation images (`sonoseg quantize`), so it is not made
at a model's first use. `engines/<sha256 of the model>-openvino_int8.json` is its record, written last.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sonoseg.errors import ModelError, is_machine_error
from sonoseg.io.files import write_bytes, write_json
from sonoseg.io.reading import parse_json, read_regular
from sonoseg.models.engines import QUANTIZED, cache
from sonoseg.models.engines.base import Conversion, NetworkFunction
from sonoseg.models.engines.openvino_engine import start
from sonoseg.models.model_header import MAX_BYTES, ModelHeader
from sonoseg.models.probe import TOLERANCE_FEW_BITS, Probe, probe_input

_AGAIN = "run `python -m sonoseg quantize` again"
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """What is known about a conversion to 8 bits.

    calibrated_on: number of training images. scored_on: number of validation images, and `dice`, class -> mean Dice in
    32 and in 8 bits; `errors`, measurement -> mean absolute error in 32 and in 8 bits. probe: the
    conversion's own output on the probe image, from which that of 32 bits may differ: it is no image of the task.
    files: suffix -> SHA-256.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    model_sha256: _Digest
    versions: dict[str, str]
    calibrated_on: int
    scored_on: int
    dice: dict[str, tuple[float, float]]
    errors: dict[str, tuple[float, float]] = {}
    probe: dict[str, Any]
    files: dict[Annotated[str, Field(pattern=r"^\.(xml|bin)$")], _Digest]


def write_quantized(model: ModelHeader, record: Record, conversion: Conversion) -> None:
    """Write the files of a conversion beside its model, and then the record. Raises OSError."""
    _path(model, ".json").unlink(missing_ok=True)
    for suffix, data in conversion.items():
        write_bytes(_path(model, suffix), data)
    write_json(_path(model, ".json"), record.model_dump())


def read_quantized(model: ModelHeader) -> tuple[Record, dict[str, bytes]]:
    """Return the record and the files of a model's conversion.

    Raises ModelError when there is none, or it was changed.
    """
    path = _path(model, ".json")
    try:
        record = Record.model_validate(parse_json(read_regular(path, cache.MAX_RECORD_BYTES)))
        files = {suffix: read_regular(_path(model, suffix), MAX_BYTES) for suffix in record.files}
    except FileNotFoundError:
        raise ModelError(
            f"{model.path}: it has no conversion to 8 bits; make one with `python -m sonoseg quantize`, or use another "
            "engine"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({type(error).__name__}); {_AGAIN}") from error
    if record.model_sha256 != model.sha256 or cache.digests(files) != record.files:
        raise ModelError(f"{path}: the conversion is not the one that was recorded; {_AGAIN}")
    return record, files


def run_quantized(model: ModelHeader, record: Record, files: Conversion, num_threads: int) -> NetworkFunction:
    """Return the network in 8 bits, ready to run; it has run once, on the probe image. Raises ModelError when it cannot
    be run, or does not give the output that its record states, as another processor or version of OpenVINO might.
    """
    expected = Probe.from_json(record.probe, len(model.task.structures), model.task.input)
    try:
        run = start(files, num_threads)
        output = run(probe_input(model.task.input))
    except Exception as error:  # OpenVINO raises errors of any type for a file that it cannot read
        if is_machine_error(error):
            raise
        raise ModelError(
            f"{model.path}: OpenVINO cannot run its conversion to 8 bits ({type(error).__name__}); {_AGAIN}, or use "
            "another engine"
        ) from error
    difference = expected.difference(output) if expected else float("inf")
    if difference > TOLERANCE_FEW_BITS:
        raise ModelError(
            f"{model.path}: its conversion to 8 bits does not give the output that was recorded (difference "
            f"{difference:.3f}, at most {TOLERANCE_FEW_BITS:g}); {_AGAIN}"
        )
    return run


def quantized_files(model: ModelHeader) -> list[Path]:
    """Return the paths of the files of a conversion to 8 bits, the record first, whether they exist or not."""
    return [_path(model, suffix) for suffix in (".json", ".xml", ".bin")]


def _path(model: ModelHeader, suffix: str) -> Path:
    return cache.record_path(model).with_name(f"{model.sha256}-{QUANTIZED}{suffix}")
