"""The fingerprint that decides whether an image of stage 2 is made again."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sonoseg.errors import DataError
from sonoseg.io.files import sha256_of
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.io.png import write_image
from sonoseg.io.readers.opening import digest_of_file
from sonoseg.preprocess import plan, prepared
from sonoseg.preprocess.prepared import Job, JobSettings
from sonoseg.runs.split_tables import Sample
from sonoseg.runs.workspace import Workspace
from tests.datasets import task_with
from tests.io.volumes import meta_image


def job(frame: int | None) -> Job:
    task = task_with([{"name": "A", "shape": "region"}])
    image, mask = ImageRef(Path("a.tif"), frame), Path("a.png")
    sample = Sample("a", image, mask, "P", 0, {"A": True}, 24, 32, None, "image", "mask")
    return Job(JobSettings(task, Workspace(Path("root"), "tiny"), 42, DEFAULT_LIMITS), "train", sample, 1)


def test_keys_of_single_pictures_are_those_of_earlier_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared.cv2, "__version__", "4.0.0")
    assert job(None).key() == "3fe7ac5a301334f2abc6808d61dfeb9b1508c5ec7a2499fab029aae379ba512e"


def test_every_frame_has_a_key_of_its_own() -> None:
    assert len({job(frame).key() for frame in (None, 0, 1)}) == 3


def test_what_else_the_key_contains_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(None)
    state = plan.State(done={one.name: one.key()})
    monkeypatch.setattr(plan.State, "read", lambda workspace: state)
    monkeypatch.setattr(plan, "collect_jobs", lambda *settings: [one])
    plan.check_prepared(one.settings.task, one.settings.workspace)
    monkeypatch.setattr(prepared.cv2, "__version__", "4.0.0")
    with pytest.raises(DataError, match="or by another version of OpenCV"):
        plan.check_prepared(one.settings.task, one.settings.workspace)


def test_other_values_beside_a_header_are_another_image(tmp_path: Path) -> None:
    picture = np.zeros((24, 32), np.uint8)
    path, mask = meta_image(tmp_path / "a.mhd", picture), tmp_path / "a.png"
    write_image(mask, picture)
    listed = {"sha256": digest_of_file(path, DEFAULT_LIMITS)[0], "mask_sha256": sha256_of(mask)}
    known = job(None)
    known = replace(known, sample=replace(known.sample, image=ImageRef(path), mask=mask, **listed))
    known.check_sources()
    meta_image(path, picture + 1)
    with pytest.raises(DataError, match=re.escape("a.mhd: the file has changed since stage 1")):
        known.check_sources()
