"""Section `annotations` of a task file, one class per annotation format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from posixpath import normpath
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    Tag,
    TypeAdapter,
    field_validator,
    model_serializer,
    model_validator,
)

from sonoseg.schema.section import InnerPath, Section

FOR_ALL, PER_STRUCTURE, VALUE, COLOR = "(for all structures)", "(per structure)", "(value)", "(color)"
FORMS = (FOR_ALL, PER_STRUCTURE, VALUE, COLOR, "[key]")
"""How pydantic names the two forms of `masks` and `mask_suffix`, and the keys of `values`, in the place of an error;
messages leave it out."""
BLACK = "#000000"

WithoutAnnotation = Literal["empty", "leave_out"] | None
"""What an image without an annotation means: it shows no structure, or nobody has annotated it; None: stage 1 asks."""


class ShapesJson(Section):
    """One JSON file: image name -> list of [class, shape, points]."""

    format: Literal["shapes_json"]
    images: InnerPath = Field("images", description="folder of the images, inside the data folder")
    file: InnerPath = "annotations.json"


_ForMasks = Annotated[
    Annotated[InnerPath, Tag(FOR_ALL)] | Annotated[dict[str, InnerPath], Tag(PER_STRUCTURE)],
    # Without it, a wrong value gets the messages of both kinds.
    Discriminator(lambda value: PER_STRUCTURE if isinstance(value, dict) else FOR_ALL),
]


_Stored = Annotated[
    Annotated[int, Field(ge=1, le=255), Tag(VALUE)]
    | Annotated[str, StringConstraints(pattern="^#[0-9a-fA-F]{6}$", to_lower=True), Tag(COLOR)],
    Discriminator(lambda value: COLOR if isinstance(value, str) and value.startswith("#") else VALUE),
]


@dataclass(frozen=True)
class MaskSet:
    """Masks that share folder and suffix. structure: the one that they show; None for masks of all structures."""

    structure: str | None
    folder: str
    suffix: str


def without_stars(name: str, stars: Sequence[str]) -> str:
    """Return a name with each `*` replaced by what it stands for, in order; without `stars` the name as it is."""
    if not stars:
        return name
    between = name.split("*")
    return between[0] + "".join(star + text for star, text in zip(stars, between[1:], strict=True))


class MaskFolder(Section):
    """A mask file per image, paired by file name: <name><image_suffix> with <name><mask_suffix>, and prefixes likewise.

    With a folder or a suffix for each structure there is a binary mask per image and structure. A `*` in `images` is
    the name of a folder, or a part of it, and the same one in `masks` is the same.
    """

    format: Literal["mask_folder"]
    images: InnerPath = "images"
    masks: _ForMasks = Field("masks", description="folder of the masks, or structure -> folder of its binary masks")
    image_prefix: InnerPath = ""
    mask_prefix: InnerPath = ""
    image_suffix: InnerPath = ""
    mask_suffix: _ForMasks = Field(
        "_mask", description="end of a mask's name, or structure -> end of the names of its binary masks"
    )
    fill_outlines: bool = Field(False, description="masks are outlines: the enclosed area is filled")
    unite: bool = Field(
        False,
        description="pictures with a number after the name of a mask, such as a_mask_1, are further masks of the same "
        "structure, and all are united",
    )
    ignore: list[InnerPath] = Field(
        [], max_length=20, description="ends of the names of pictures that are neither images nor masks"
    )
    values: dict[_Stored, str | None] = Field(
        {},
        description="value, or colour '#rrggbb', in the masks -> structure, null for background; empty: values are the "
        "structures' positions in the task",
    )
    without_annotation: WithoutAnnotation = Field(
        None,
        description="images without a mask, or without one of a structure: empty (they do not show it) or leave_out; "
        "null: stage 1 asks",
    )

    @field_validator("masks", "mask_suffix")
    @classmethod
    def _names_something(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        if value == {}:
            raise ValueError("names nothing; expected one for all structures, or one for each")
        return value

    @model_validator(mode="after")
    def _structures_are_told_apart(self) -> "MaskFolder":
        places = [(normpath(masks.folder), masks.suffix) for masks in self.mask_sets]
        if len(set(places)) < len(places):
            raise ValueError(
                "two structures have the same folder and mask_suffix; give each a folder or a suffix of its own"
            )
        if self.values and self.per_structure:
            raise ValueError("values is for masks of all structures; masks of one structure are binary")
        if self.colors and len(self.colors) < len(self.values):
            raise ValueError("values has numbers and colours; expected one kind")
        if BLACK in self.colors:
            raise ValueError(f"values: {BLACK} is background; remove it")
        if self.unite and not all(masks.suffix for masks in self.mask_sets):
            raise ValueError("unite needs a mask_suffix, after which the number of a further mask stands")
        if "" in self.ignore:
            raise ValueError("ignore has an empty end, which every name has; remove it")
        stars = self.images.count("*")
        if stars and any(masks.folder.count("*") != stars for masks in self.mask_sets):
            raise ValueError("images and masks need the same number of *, which stand for the same folders")
        return self

    def without_stars(self, stars: Sequence[str]) -> "MaskFolder":
        """Return the section of one folder of images, and its masks; stars: what each `*` stands for."""
        masks: str | dict[str, str]
        if isinstance(self.masks, str):
            masks = without_stars(self.masks, stars)
        else:
            masks = {name: without_stars(folder, stars) for name, folder in self.masks.items()}
        return self.model_copy(update={"images": without_stars(self.images, stars), "masks": masks})

    @model_serializer(mode="wrap")
    def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out unset newer fields: tasks without them keep the fingerprints of earlier versions."""
        fields: dict[str, Any] = handler(self)
        unset: dict[str, Any] = {"values": {}, "without_annotation": None, "unite": False, "ignore": []}
        unset |= {"image_prefix": "", "mask_prefix": ""}
        return {name: value for name, value in fields.items() if name not in unset or value != unset[name]}

    @property
    def colors(self) -> tuple[str, ...]:
        """The colours `#rrggbb` of the masks, in the order of `values`; empty where they have numbers."""
        return tuple(stored for stored in self.values if isinstance(stored, str))

    @property
    def per_structure(self) -> dict[str, dict[str, str]]:
        """The fields that are given for each structure: `masks`, `mask_suffix`, both or neither."""
        fields = {"masks": self.masks, "mask_suffix": self.mask_suffix}
        return {name: value for name, value in fields.items() if not isinstance(value, str)}

    @property
    def mask_sets(self) -> tuple[MaskSet, ...]:
        """The masks of each structure; a single set, whose structure is None, for masks of all structures."""
        names = dict.fromkeys(name for mapping in self.per_structure.values() for name in mapping)
        return tuple(
            MaskSet(
                name,
                self.masks if isinstance(self.masks, str) else self.masks.get(str(name), ""),
                self.mask_suffix if isinstance(self.mask_suffix, str) else self.mask_suffix.get(str(name), ""),
            )
            for name in names or (None,)
        )

    def structures_problem(self, names: list[str]) -> str:
        """Return why the section does not fit a task's structures; empty when it does."""
        if self.unite and not self.per_structure and len(names) > 1:
            return "annotations.unite: is for binary masks; name those of each structure in mask_suffix"
        meant = [name for name in self.values.values() if name is not None]
        for field, used in (*self.per_structure.items(), ("values", meant)):
            unknown = [name for name in used if name not in names]
            if unknown:
                return f"annotations.{field}: unknown class {unknown[0]!r}; the classes are {', '.join(names)}"
            missing = [name for name in names if used and name not in used]
            if missing:
                return f"annotations.{field}: has nothing for {', '.join(missing)}; add it, or remove the structure"
        return ""


class LabelledFormat(Section):
    """What the formats of annotation tools share: labels of their own, and images that nobody has annotated."""

    images: InnerPath = Field("images", description="folder of the images, inside the data folder")
    labels: dict[str, str | None] = Field(
        {},
        max_length=1000,
        description="label in the files -> structure, null to ignore it; other labels are the structures' own names",
    )
    without_annotation: WithoutAnnotation = Field(
        None,
        description="images without any shape: empty (they show no structure) or leave_out; null: stage 1 asks",
    )


class LabelMe(LabelledFormat):
    """A JSON file of labelme per image, of the same name."""

    format: Literal["labelme"]
    annotations: InnerPath = Field("images", description="folder of the JSON files, inside the data folder")


class Coco(LabelledFormat):
    """One JSON file with `images`, `annotations` and `categories`, as pycocotools reads it: polygons or run lengths."""

    format: Literal["coco"]
    file: InnerPath = "annotations.json"


class Cvat(LabelledFormat):
    """One XML file: CVAT for images 1.1."""

    format: Literal["cvat"]
    file: InnerPath = "annotations.xml"


class LabelStudio(LabelledFormat):
    """One JSON file, the export `JSON` of Label Studio."""

    format: Literal["label_studio"]
    file: InnerPath = "annotations.json"


Annotations = Annotated[ShapesJson | MaskFolder | LabelMe | Coco | Cvat | LabelStudio, Field(discriminator="format")]

_ADAPTER: TypeAdapter[Any] = TypeAdapter(Annotations)


def annotations_section(name: str, **fields: Any) -> Any:
    """Return the section of the format `name`, with default values for the fields that are not given.

    Raises ValidationError for a format that does not exist, and for wrong fields.
    """
    return section_of({"format": name, **fields})


def section_of(fields: Mapping[str, Any]) -> Any:
    """Return the section that a task file's fields, `format` among them, give; as `annotations_section` otherwise."""
    return _ADAPTER.validate_python(dict(fields))
