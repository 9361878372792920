"""Shapes and measurements as a Comprehensive SR document by the template Measurement Report (TID 1500)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from highdicom import sr
from numpy.typing import NDArray
from pydicom.sr.coding import Code

import sonoseg
from sonoseg.annotations.shapes_json import KIND_OF
from sonoseg.dicom import codes
from sonoseg.dicom.result import NAME, NOTICE, Result, encoded, instance_arguments, uid
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.quantity import Quantity, prefer_mm
from sonoseg.schema.results import MeasurementSection
from sonoseg.types import Points

PIXEL_CENTRE = 0.5
"""The origin of a report's coordinates is the corner of the first pixel (DICOM PS3.3, C.18.6), and ours its centre."""

MAX_POINTS = 8000
"""Most points of an outline: their coordinates have to fit into 64 kB."""


def report(result: Result) -> bytes:
    """Return the file of a structured report of an image's shapes, measurements, status and reasons.

    Quantities without a value are not in it; lengths are in millimetres, and in pixels only where they are unknown.
    """
    groups = [_summary(result)]
    measured = _measured(result)
    for name in result.task.class_names:
        own = [(section, quantity) for section, quantity in measured if section.structure == name]
        marked = [pair for pair in own if pair[1].key in result.facts.get("marks", {})]
        shapes = _shape_groups(result, name, [pair for pair in own if pair not in marked])
        others = marked if shapes else own
        groups += [*shapes, *([_measurement_group(result, name, others)] if others else [])]
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid("device", result.model),
        name=NAME,
        manufacturer_name=NAME,
        model_name=f"{NAME} {sonoseg.__version__}, task {result.task.name}",
        serial_number=result.model,
    )
    observer = sr.ObserverContext(
        observer_type=sr.CodedConcept("121007", "DCM", "Device"), observer_identifying_attributes=device
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.PROCEDURE,
        imaging_measurements=groups,
    )
    document = sr.ComprehensiveSR(
        evidence=[result.source.dataset],
        content=content,
        is_complete=True,
        is_final=False,
        is_verified=False,
        **instance_arguments(result, "sr"),
    )
    return encoded(document)


def _measured(result: Result) -> list[tuple[MeasurementSection, Quantity]]:
    """Return the quantities that have a value, each with its section."""
    values = result.facts["measurements"]
    pairs = [pair for pair in codes.sections_of(result.task) if values.get(pair[1].key) is not None]
    kept = prefer_mm(quantity for _, quantity in pairs)
    return [pair for pair in pairs if pair[1] in kept]


def _summary(result: Result) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return the group of the image as a whole: status, expected Dice, and why something is missing or doubtful."""
    facts = result.facts
    quality = facts.get("quality")
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(result, "image"),
        algorithm_id=_algorithm(result),
        finding_type=Code("image", codes.PRIVATE, "Result of the image"),
        measurements=[] if quality is None else [sr.Measurement(codes.EXPECTED_DICE, float(quality), codes.NO_UNIT)],
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.STATUS, codes.STATUSES[facts["status"]])],
        source_images=[sr.SourceImageForMeasurementGroup(*_source(result), result.frames)],
    )
    texts = [(codes.COMMENT, NOTICE), *((codes.REASON, reason) for reason in facts["reasons"])]
    texts += [(codes.NOTE, note) for note in _notes(facts)]
    for name, text in texts:
        group[0].ContentSequence.append(_text(name, text, sr.RelationshipTypeValues.CONTAINS))
    return group


def _notes(facts: Any) -> Iterator[str]:
    """Yield why there is no quality or value, and other notes; quantities with the same note share one."""
    if facts.get("quality_note"):
        yield f"expected Dice: {facts['quality_note']}"
    keys: dict[str, list[str]] = {}
    for key, note in facts["notes"].items():
        keys.setdefault(note, []).append(key)
    for note, names in keys.items():
        yield f"{', '.join(names)}: {note}"


def _shape_groups(result: Result, name: str, own: Sequence[tuple[MeasurementSection, Quantity]]) -> list[Any]:
    """Return a group per shape of a structure; the first, on which the structure is measured, has the measurements."""
    groups = []
    for number, (_, word, points) in enumerate(entry for entry in result.facts.get("shapes", []) if entry[0] == name):
        shape = Shape(name, KIND_OF[word], SHAPE_KINDS[KIND_OF[word]].read_points(points))
        graphic_type, coordinates, is_cut = region_of(shape, result.source.size)
        measurements = [_measurement(result, *pair) for pair in own] + _scores(result, name) if number == 0 else []
        group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=_tracking(result, name, number + 1),
            referenced_region=sr.ImageRegion(graphic_type, coordinates, _image(result)),
            finding_type=result.codes[name].kind,
            finding_category=result.codes[name].category,
            algorithm_id=_algorithm(result),
            measurements=measurements,
        )
        if is_cut:
            text = f"{name} extends beyond the image; the coordinates end at its border"
            group[0].ContentSequence.append(_text(codes.NOTE, text, sr.RelationshipTypeValues.CONTAINS))
        groups.append(group)
    return groups


def _measurement_group(result: Result, name: str, own: Sequence[tuple[MeasurementSection, Quantity]]) -> Any:
    """Return the group of what is measured on a structure beside its shape.

    That are distances, each with the line along which it was measured, and all values of a loop, which has no shapes.
    """
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(result, f"{name} measurements"),
        finding_type=result.codes[name].kind,
        finding_category=result.codes[name].category,
        algorithm_id=_algorithm(result),
        measurements=[_measurement(result, *pair) for pair in own],
    )


def _unit(quantity: Quantity) -> str:
    """Return the unit of a quantity in ASCII, for a text."""
    return quantity.unit.replace("pct", "%")


def _measurement(result: Result, section: MeasurementSection, quantity: Quantity) -> sr.Measurement:
    """Return a value with its unit, its interval as uncertainty, its notes, and the line between its marks."""
    scale = codes.DAYS_PER_WEEK if quantity.unit == "weeks" else 1
    value, unit = float(result.facts["measurements"][quantity.key]), codes.UNITS[quantity.unit]
    coordinates, marks = None, result.facts.get("marks", {}).get(quantity.key)
    if marks is not None:
        line, _ = _within(np.array(marks, dtype=np.float64), result.source.size)
        coordinates = [sr.CoordinatesForMeasurement("POLYLINE", line, _image(result))]
    measurement = sr.Measurement(
        codes.quantity_code(section, quantity),
        scale * value,
        unit,
        method=codes.METHODS.get((section.kind, quantity.name)),
        referenced_coordinates=coordinates,
    )
    properties = _interval(result, quantity, scale)
    note = result.facts["notes"].get(quantity.key)
    properties += [_text(codes.NOTE, note)] if note else []
    spread = result.facts.get("spread", {}).get(quantity.key)
    if spread is not None:
        properties.append(_text(codes.SPREAD, f"{spread:.4g} {_unit(quantity)}"))
    if properties:
        content = measurement[0].get("ContentSequence") or sr.ContentSequence()
        measurement[0].ContentSequence = sr.ContentSequence([*content, *properties])
    return measurement


def _interval(result: Result, quantity: Quantity, scale: int) -> list[Any]:
    """Return the distances from a value to the ends of its interval, in its unit, and the ends as text; or nothing."""
    interval = result.facts.get("intervals", {}).get(quantity.key)
    if interval is None:
        return []
    value, unit = result.facts["measurements"][quantity.key], codes.UNITS[quantity.unit]
    low, high = interval
    relation = sr.RelationshipTypeValues.HAS_PROPERTIES
    return [
        sr.NumContentItem(codes.UPPER, scale * float(high - value), unit, relationship_type=relation),
        sr.NumContentItem(codes.LOWER, scale * float(value - low), unit, relationship_type=relation),
        _text(codes.INTERVAL, f"{low:.4g} to {high:.4g} {_unit(quantity)}"),
    ]


def _scores(result: Result, name: str) -> list[sr.Measurement]:
    """Return how sure the network is of a structure, and how well its mask and its shape agree."""
    scores = ((codes.CONFIDENCE, "confidence"), (codes.AGREEMENT, "shape_agreement"))
    found = [(code, result.facts.get(entry, {}).get(name)) for code, entry in scores]
    return [sr.Measurement(code, float(value), codes.NO_UNIT) for code, value in found if value is not None]


def region_of(shape: Shape, size: tuple[int, int]) -> tuple[str, NDArray[np.float64], bool]:
    """Return graphic type and coordinates `(N, 2)` of a shape in a frame of (height, width), and whether it is cut.

    An ellipse is given by the ends of its major and of its minor axis. Coordinates have to lie within the frame: of an
    ellipse whose axes do not, and of all other shapes, the outline is given, and ends at the border of the frame.
    """
    points = shape.points
    if shape.kind == "ellipse":
        lengths = [float(np.linalg.norm(end - start)) for start, end in (points[:2], points[2:])]
        ordered = points if lengths[0] >= lengths[1] else points[[2, 3, 0, 1]]
        coordinates, is_cut = _within(ordered, size)
        if not is_cut:
            return "ELLIPSE", coordinates, False
    if shape.kind == "line":
        return "POLYLINE", *_within(points, size)
    outline = shape.outline()
    outline = outline[:: 1 + len(outline) // MAX_POINTS]
    return "POLYLINE", *_within(np.concatenate([outline, outline[:1]]), size)


def _within(points: Points, size: tuple[int, int]) -> tuple[NDArray[np.float64], bool]:
    """Return points as coordinates of a report, moved to the border where they lie outside, and whether one does."""
    coordinates = points + PIXEL_CENTRE
    inside = np.clip(coordinates, 0, size[::-1])
    return inside, bool((inside != coordinates).any())


def _source(result: Result) -> tuple[str, str]:
    return result.source.dataset.SOPClassUID, result.source.dataset.SOPInstanceUID


def _image(result: Result) -> sr.SourceImageForRegion:
    return sr.SourceImageForRegion(*_source(result), result.frames)


def _tracking(result: Result, name: str, number: int = 1) -> sr.TrackingIdentifier:
    more = f" {number}" if number > 1 else ""
    return sr.TrackingIdentifier(uid=result.uid("tracking", name, number), identifier=f"{name}{more}")


def _algorithm(result: Result) -> sr.AlgorithmIdentification:
    parameters = [f"model_sha256={result.model}", f"task={result.task.name}"]
    return sr.AlgorithmIdentification(NAME, sonoseg.__version__, parameters=parameters)


def _text(
    name: Code, text: str, relation: sr.RelationshipTypeValues = sr.RelationshipTypeValues.HAS_PROPERTIES
) -> sr.TextContentItem:
    plain = text.encode("ascii", "replace").decode()  # the character set is that of the source's text
    return sr.TextContentItem(sr.CodedConcept.from_code(name), plain, relationship_type=relation)
