"""Base class and number types of the sections of a task file."""

from pathlib import PurePosixPath, PureWindowsPath
from posixpath import normpath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sonoseg.sizes import MAX_EPOCHS

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Epochs = Annotated[int, Field(ge=1, le=MAX_EPOCHS)]


def _inside(path: str) -> str:
    """Return a path that stays inside the folder it is relative to. Raises ValueError for any other, also Windows'."""
    windows = PureWindowsPath(path)
    leads_out = PurePosixPath(normpath(windows.as_posix())).parts[:1] == ("..",)
    if PurePosixPath(path).is_absolute() or windows.anchor or leads_out or not path.isprintable():
        raise ValueError(f"{path!r} leads out of the data folder; expected a path inside it")
    return path


InnerPath = Annotated[str, AfterValidator(_inside)]
"""Path of a file or folder inside the data folder, also part of a file name."""


class Section(BaseModel):
    """Base of every section: an unknown field is an error, and fields do not change after loading.

    Every number has limits, far above what is useful, so that a slip in a task file is named at once, and neither keeps
    the machine busy for hours nor exhausts its memory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, str_max_length=1000)
