"""Section `annotations` of a task file, one class per annotation format."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from sonoseg.schema.section import InnerPath, Section


class ShapesJson(Section):
    """One JSON file: image name -> list of [class, shape, points]."""

    format: Literal["shapes_json"]
    images: InnerPath = Field("images", description="folder of the images, inside the data folder")
    file: InnerPath = "annotations.json"


class MaskFolder(Section):
    """A mask file per image, paired by file name: <name><image_suffix> with <name><mask_suffix>."""

    format: Literal["mask_folder"]
    images: InnerPath = "images"
    masks: InnerPath = "masks"
    image_suffix: InnerPath = ""
    mask_suffix: InnerPath = "_mask"
    fill_outlines: bool = Field(False, description="masks are outlines: the enclosed area is filled")


class LabelledFormat(Section):
    """What the formats of annotation tools share: labels of their own, and images that nobody has annotated."""

    images: InnerPath = Field("images", description="folder of the images, inside the data folder")
    labels: dict[str, str | None] = Field(
        {},
        max_length=1000,
        description="label in the files -> structure, null to ignore it; other labels are the structures' own names",
    )
    without_annotation: Literal["empty", "leave_out"] | None = Field(
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
    return _ADAPTER.validate_python({"format": name, **fields})
