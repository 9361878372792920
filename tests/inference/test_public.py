"""Public names of `sonoseg`: each exists, and importing the package imports no torch."""

import inspect
import subprocess
import sys

import pytest

import sonoseg


@pytest.mark.parametrize("name", sonoseg.__all__)
def test_every_public_name_is_defined_in_its_module(name: str) -> None:
    value = getattr(sonoseg, name)
    assert value.__name__ == name and inspect.getmodule(value).__name__ == sonoseg._MODULES[name]


def test_the_notebook_uses_public_names() -> None:
    needed = "Segmenter load_task available_tasks Workspace read_image read_mask tint build_network load_data"
    needed += " SegmentationDataset ShuffledBatchSampler SequentialBatchSampler Loader SegmentationLoss build_optimizer"
    needed += " learning_rates TrainingSetup TrainingOptions build_training start_fabric train_epoch validate"
    needed += " summarise_network predict class_map"
    assert set(needed.split()) == set(sonoseg.__all__) <= set(dir(sonoseg))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Segmentor'"):
        sonoseg.Segmentor  # noqa: B018


def test_importing_sonoseg_loads_no_torch() -> None:
    has_torch = "print('torch' in sys.modules)"
    code = f"import sys, sonoseg, inference; sonoseg.Segmenter; {has_torch}; sonoseg.predict; {has_torch}"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]
