"""Task files: validation, inheritance, and the messages for mistakes."""

import pytest
import yaml

from sonoseg.errors import TaskError
from sonoseg.schema.annotation_formats import MaskFolder
from sonoseg.schema.annotations import drawing_order
from sonoseg.schema.results import Review
from sonoseg.schema.task_files import FOLDER, available_tasks, load_task, parse_task


@pytest.mark.parametrize("name", available_tasks())
def test_every_included_task_is_valid(name):
    task = load_task(name)
    assert task.name == name
    assert sorted(structure.name for structure in drawing_order(task.structures)) == sorted(task.class_names)


def test_classes_of_spine():
    task = load_task("spine")
    assert [task.index_of(name) for name in ("MID", "VTB", "EPI")] == [1, 2, 3]
    assert [structure.name for structure in drawing_order(task.structures)] == ["VTB", "MID", "EPI"]
    assert {s.name: s.thickness_px for s in task.structures} == {"MID": 10, "VTB": None, "EPI": 10}


def changed(change):
    fields = yaml.safe_load((FOLDER / "spine.yaml").read_text())
    change(fields)
    return fields


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(colour="red"), "colour: there is no such field"),
        (lambda f: f["input"].pop("size"), "input.size: this field is missing"),
        (lambda f: f["input"].update(fit="squeeze"), "input.fit: input should be 'resize', 'letterbox', 'pad_or_crop'"),
        (lambda f: f["structures"][0].update(color="red"), "structures.0.color"),
        (lambda f: f["structures"][0].pop("thickness_px"), "thickness_px belongs to the shape 'line'"),
        (lambda f: f["structures"][1].update(name="MID"), "two classes have the name MID; rename one of them"),
        (lambda f: f["structures"][1].update(name="fold"), "a class cannot have a table column's name"),
        (
            lambda f: f["structures"][1].update(covered_by=["SKIN"]),
            "unknown class 'SKIN'; the classes are MID, VTB, EPI",
        ),
        (
            lambda f: f["structures"][2].update(covered_by=["VTB"]),
            "covered_by forms a cycle: MID, EPI, VTB; remove one entry",
        ),
        (lambda f: f.update(patients={"pattern": "("}), "not a regular expression"),
        (lambda f: f.update(patients={"pattern": "x"}), "exactly one (group)"),
        (lambda f: f.update(patients={}), "name either a column or a pattern"),
        (lambda f: f["input"].update(size=[481, 640]), "a multiple of the network's downsampling, 32"),
        (lambda f: f["network"].update(strides=[2]), "found 1 strides for 6 channels; expected 5"),
        (lambda f: f.update(annotations={"format": "yolo"}), "'shapes_json', 'mask_folder', 'labelme', 'coco'"),
    ],
)
def test_a_message_names_the_field_and_the_choices(change, message):
    with pytest.raises(TaskError) as caught:
        parse_task(changed(change), source="my.yaml")
    assert str(caught.value).startswith("my.yaml: not a valid task file")
    assert message in str(caught.value)


def test_all_mistakes_are_reported_together():
    def change(fields):
        fields["input"]["fit"] = "squeeze"
        fields["training"]["epochs"] = 0

    with pytest.raises(TaskError) as caught:
        parse_task(changed(change), source="my.yaml")
    assert "input.fit" in str(caught.value) and "training.epochs" in str(caught.value)


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("augmentation: {elastc: null}", "augmentation.elastc"),
        ("patient: null", "patient"),
        ("training: {loss: {hausdorf: null}}", "training.loss.hausdorf"),
        ("plan: {minuts: null}", "plan.minuts"),
    ],
)
def test_a_misspelt_field_that_is_null_is_refused(text: str, field: str, tmp_path) -> None:
    """It would leave the setting on that somebody meant to switch off."""
    file = write(tmp_path, "mine.yaml", f"extends: spine\nname: mine\n{text}\n")
    with pytest.raises(TaskError, match=f"  - {field}: there is no such field"):
        load_task(file)


def test_null_is_of_the_file_that_states_it(tmp_path):
    write(
        tmp_path, "mine.yaml", "extends: nerve_unet\nname: mine\nnetwork: {target: null}\nplan: null\nexclude: null\n"
    )
    text = "extends: mine.yaml\nname: other\nnetwork: {name: segnet}\ninput: {size: [256, 256]}\n"
    other = write(tmp_path, "other.yaml", text)
    assert load_task(other).network.name == "segnet", "which has no target"


def test_extends_merges_sections_replaces_lists_and_null_removes(tmp_path):
    text = "extends: spine\nname: mine\nenhancement: {denoise: null}\ntraining: {epochs: 3}\n"
    text += "measurements: []\nreview: null\n"
    task, spine = load_task(write(tmp_path, "mine.yaml", text)), load_task("spine")
    assert task.name == "mine" and task.measurements == [] and task.review == Review()
    assert task.training.epochs == 3 and task.training.batch_size == spine.training.batch_size
    assert task.enhancement.denoise is None and task.enhancement.clahe == spine.enhancement.clahe


def test_a_section_of_another_kind_replaces_the_extended_one(tmp_path):
    text = "extends: spine\nname: mine\npatients: {pattern: '^(a)'}\nannotations: {format: mask_folder}\n"
    task = load_task(write(tmp_path, "mine.yaml", text))
    assert task.patients.column is None and task.annotations == MaskFolder(format="mask_folder")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("review: {ranges: {midline_angle: {low: -10}}}", "review.ranges: 'midline_angle' is not measured; expected"),
        ("metadata: {reference: {depth: depth_mm}}", "metadata.reference: 'depth' is not measured"),
        ("review: {ranges: {midline_angle_deg: {low: 10, high: -10}}}", "low 10 is above high -10"),
        ("network: {name: vnet}", "'segnet'"),
        (
            "network: {name: segnet, channels: [8, 8], convolutions: [1]}",
            "found 1 numbers of convolutions for 2 channels; expected 2",
        ),
        ("network: {name: unet2015, padding: valid}", "target belongs to padding 'valid'"),
        ("training: {loss: {name: bce}}", "training.loss.name: bce is for one class; use dice_ce for several"),
        ("postprocessing: {threshold: 0.4}", "postprocessing.threshold is for one class"),
        ("split: {test_size: 0}", "split.test_size"),
        ("input: {size: [32, 64]}", "at least twice as long"),
    ],
)
def test_a_mistake_without_visible_effect_is_an_error(tmp_path, line, message):
    with pytest.raises(TaskError) as caught:
        load_task(write(tmp_path, "mine.yaml", f"extends: spine\nname: mine\n{line}\n"))
    assert message in str(caught.value)


def test_extends_a_file_beside_it(tmp_path):
    write(tmp_path, "base.yaml", "extends: spine\nname: base\ntraining: {epochs: 3}\n")
    assert load_task(write(tmp_path, "top.yaml", "extends: base.yaml\nname: top\n")).training.epochs == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: a.yaml\nname: a\n", "extends forms a cycle"),
        ("name: [", "not readable as YAML"),
        ("- a\n- b\n", "found list"),
        ("extends: nothing\n", "no such task"),
        ("name: !!python/object/apply:os.system [echo]\n", "not readable as YAML"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(TaskError, match=message):
        load_task(write(tmp_path, "a.yaml", text))


def test_an_unknown_name_lists_the_tasks():
    with pytest.raises(TaskError, match=r"spin: no such task; expected .*spine"):
        load_task("spin")


def test_the_outlines_width_is_also_read_under_its_old_key():
    fields = load_task("fetal_head").model_dump(mode="json")
    (section,) = fields["measurements"]
    width = section.pop("outline_width_fraction")
    section["pen_width"] = width
    task = parse_task(fields, "old.yaml")
    assert task == load_task("fetal_head") and task.measurements[0].outline_width_fraction == width > 0
    section["outline_width_fraction"] = width
    with pytest.raises(TaskError, match="pen_width: there is no such field"):
        parse_task(fields, "both.yaml")
