"""A validated task file. The task with which a model was trained is stored in the model file."""

from math import prod

from pydantic import Field, model_validator

from sonoseg.errors import choices
from sonoseg.schema.annotation_formats import Annotations, MaskFolder
from sonoseg.schema.annotations import Metadata, Patients, Split, Structure, drawing_order
from sonoseg.schema.columns import SPLIT_COLUMNS
from sonoseg.schema.images import Augmentation, Enhancement, Input
from sonoseg.schema.network import Network
from sonoseg.schema.quantity import Quantity
from sonoseg.schema.results import SKIN_ROW, Evaluation, MeasurementSection, Postprocessing, Review
from sonoseg.schema.section import Section
from sonoseg.schema.training import Training

MAX_VALUES = 1 << 32
"""Values of a batch after the network's first convolution; 16 GiB, as training keeps several times as many."""


class Task(Section):
    """All sections of a task file."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100, description="also the name of the task's folders")
    title: str
    structures: list[Structure] = Field(min_length=1, max_length=254)
    annotations: Annotations
    metadata: Metadata = Metadata()
    patients: Patients = Patients(unknown=True)
    split: Split = Split()
    enhancement: Enhancement = Enhancement()
    input: Input
    augmentation: Augmentation = Augmentation()
    network: Network
    training: Training
    postprocessing: Postprocessing = Postprocessing()
    measurements: list[MeasurementSection] = Field([], max_length=100, description="what is measured on the structures")
    evaluation: Evaluation = Evaluation()
    review: Review = Review()

    @property
    def class_names(self) -> list[str]:
        return [structure.name for structure in self.structures]

    @property
    def colors(self) -> list[str]:
        return [structure.color for structure in self.structures]

    @property
    def is_binary(self) -> bool:
        """Whether there is a single class: the network then has one output, and its probability a threshold."""
        return len(self.structures) == 1

    @property
    def threshold(self) -> float | None:
        """Probability above which a pixel belongs to the class; None with several: the most probable is taken."""
        return self.postprocessing.threshold if self.is_binary else None

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of the network's logits, smaller than the input for unpadded convolutions."""
        return self.network.output_size(self.input.size)

    def index_of(self, name: str) -> int:
        """Return the label value of a class, 1 for the first. Raises ValueError for an unknown name."""
        return self.class_names.index(name) + 1

    def structure(self, name: str) -> Structure:
        """Return the class of this name. Raises ValueError for an unknown name."""
        return self.structures[self.index_of(name) - 1]

    @property
    def quantities(self) -> list[Quantity]:
        """All that is measured, in order: its keys are columns of the tables and keys of the JSON files."""
        return [quantity for measurement in self.measurements for quantity in measurement.quantities]

    def with_raw_masks(self) -> "Task":
        """Return the task with the network's masks in place of filled ellipses, `postprocessing.shape_mask` false."""
        postprocessing = self.postprocessing.model_copy(update={"shape_mask": False})
        return self.model_copy(update={"postprocessing": postprocessing})

    def without_codes(self) -> "Task":
        """Return the task without the codes of its structures: they name results, and change none."""
        structures = [structure.model_copy(update={"code": None}) for structure in self.structures]
        return self.model_copy(update={"structures": structures})

    def label_map_settings(self) -> list[dict[str, object]]:
        """Return the settings on which label maps depend: the classes in order, and how each is drawn."""
        fields = {"name", "shape", "thickness_px", "covered_by"}
        return [structure.model_dump(include=fields) for structure in self.structures]

    @model_validator(mode="after")
    def _names_are_known(self) -> "Task":
        names = self.class_names
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"structures: two classes have the name {', '.join(repeated)}; rename one of them")
        if set(names) & set(SPLIT_COLUMNS):
            raise ValueError(f"structures: a class cannot have a table column's name: {', '.join(SPLIT_COLUMNS)}")
        used = [
            (f"structures.{structure.name}.covered_by", name)
            for structure in self.structures
            for name in structure.covered_by
        ]
        for rule in self.postprocessing.rules:
            used += [("postprocessing.rules", name) for name in (rule.require, *rule.suppress)]
        for measurement in self.measurements:
            used += [("measurements", name) for name in measurement.shapes_needed]
        used += [("review.expected", name) for name in self.review.expected]
        for field, name in used:
            if name not in names:
                raise ValueError(f"{field}: unknown class {name!r}; the classes are {', '.join(names)}")
        if isinstance(self.annotations, MaskFolder) and (problem := self.annotations.structures_problem(names)):
            raise ValueError(problem)
        self._measurements_fit_shapes()
        self._values_are_measured()
        drawing_order(self.structures)
        self._network_fits()
        return self

    def _values_are_measured(self) -> None:
        keys = [quantity.key for quantity in self.quantities]
        repeated = {key for key in keys if keys.count(key) > 1}
        if repeated:
            raise ValueError(f"measurements: {', '.join(sorted(repeated))} would be measured twice; give other names")
        known = [*keys, SKIN_ROW] if any(section.kind == "depth_along" for section in self.measurements) else keys
        for section, names, expected in (
            ("review.ranges", self.review.ranges, keys),
            ("metadata.reference", self.metadata.reference, known),
        ):
            for name in names:
                if name not in expected:
                    listed = ", ".join(expected) or "none"
                    raise ValueError(f"{section}: {name!r} is not measured; expected one of {listed}")

    def _network_fits(self) -> None:
        try:
            self.output_size  # noqa: B018  (raises)
        except ValueError as problem:
            raise ValueError(f"input.size {list(self.input.size)}: {problem}") from None
        self._resizing_fits()
        values = self.training.batch_size * prod(self.input.size) * self.network.first_channels
        if values > MAX_VALUES:
            raise ValueError(
                f"training.batch_size {self.training.batch_size}, input.size {list(self.input.size)} and the network's "
                f"{self.network.first_channels} first channels: a batch has {values:.2g} values at full resolution; "
                f"expected at most {MAX_VALUES:.2g}, which take 16 GiB"
            )
        if self.is_binary:
            return
        if self.training.loss.name.startswith("bce"):
            raise ValueError(f"training.loss.name: {self.training.loss.name} is for one class; use dice_ce for several")
        if self.postprocessing.threshold != 0.5:
            raise ValueError(
                "postprocessing.threshold is for one class; with several classes the most probable is taken"
            )

    def _resizing_fits(self) -> None:
        resizing = self.training.progressive_resizing
        if resizing is None:
            return
        where = f"training.progressive_resizing.size {list(resizing.size)}"
        try:
            output = self.network.output_size(resizing.size)
        except ValueError as problem:
            raise ValueError(f"{where}: {problem}") from None
        if output != resizing.size:
            raise ValueError(f"{where}: a network with unpadded convolutions has one size; leave the section out")
        (height, width), (small_height, small_width) = self.input.size, resizing.size
        if height * small_width != width * small_height or small_height >= height:
            raise ValueError(
                f"{where}: expected a smaller size with the proportions of input.size {list(self.input.size)}"
            )

    def _measurements_fit_shapes(self) -> None:
        for measurement in self.measurements:
            for name, needed in measurement.shapes_needed.items():
                shape = self.structure(name).shape
                if shape not in needed:
                    raise ValueError(
                        f"measurements: {measurement.kind} needs a {choices(needed)}, and {name} is a {shape}"
                    )
