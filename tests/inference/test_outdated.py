"""Results of an earlier run that a file no longer has."""

import json
from pathlib import Path

from sonoseg.inference.results import outdated_names
from sonoseg.inference.sources import Source
from sonoseg.io.image_ref import ImageRef


def test_the_result_of_a_whole_frame_is_outdated_by_those_of_its_regions(tmp_path: Path) -> None:
    """Also of a file that is called after a UID, whose last number is no extension."""
    for name in ("1.2.840.113", "scan"):
        file = Path(name if name[0] == "1" else f"{name}.dcm")
        (tmp_path / f"{name}.json").write_text(json.dumps({"image": file.name}))
        sources = [Source(ImageRef(file, region=region), f"{name}_region{region + 1}") for region in range(2)]
        assert outdated_names(tmp_path, sources) == [name]
