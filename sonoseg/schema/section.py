"""Base class and number types of the sections of a task file."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Base of every section: an unknown field is an error, and fields do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
