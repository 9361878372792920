"""The scores of the registry: where they come from, and what has to stand beside a Dice."""

from sonoseg.models.registry import registered_model
from sonoseg.schema.task import Task
from tests.evaluation.made_cases import made_case, spine_map, summary_of
from tools.ship_model import scores_of


def test_a_dice_of_a_structure_that_is_sometimes_absent_is_followed_by_that_where_present(spine: Task) -> None:
    pairs = [(spine_map(without=(3,)), spine_map(without=(3,))), (spine_map(drop=2), spine_map())]
    scores = {
        one["name"]: one["value"]
        for one in scores_of(summary_of([made_case("a", "p", *p, spine) for p in pairs], spine))
    }
    assert "MID Dice" in scores and "MID Dice where present" not in scores
    assert (1 + scores["EPI Dice where present"]) / 2 == scores["EPI Dice"] > scores["EPI Dice where present"]


def test_the_registry_has_it_for_simulated_spines() -> None:
    entry = registered_model("spine_realtime")
    assert entry is not None
    names = [score.name for score in entry.scores]
    for structure in ("MID", "VTB", "EPI"):
        assert names[names.index(f"{structure} Dice") + 1] == f"{structure} Dice where present"
