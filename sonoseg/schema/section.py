"""Base class and number types of the sections of a task file."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sonoseg.sizes import MAX_EPOCHS

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Epochs = Annotated[int, Field(ge=1, le=MAX_EPOCHS)]


class Section(BaseModel):
    """Base of every section: an unknown field is an error, and fields do not change after loading.

    Every number has limits, far above what is useful, so that a slip in a task file is named at once, and neither keeps
    the machine busy for hours nor exhausts its memory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, str_max_length=1000)
