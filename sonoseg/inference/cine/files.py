"""Names of the result files of a loop."""

from dataclasses import dataclass

MP4, WEBP = ".mp4", ".webp"
"""Suffixes of the overlay video: MP4, or an animated WebP where OpenCV's build writes no MP4."""


@dataclass(frozen=True)
class LoopFiles:
    """Names of the result files of a loop; `record` is the JSON of its summary, written last.

    table: a row per frame. chart: measurements and quality over time. overlay: the video. masks: label maps of all
    frames, a page each.
    """

    table: str
    chart: str
    overlay: str
    masks: str
    record: str

    @classmethod
    def of(cls, name: str, video_suffix: str = MP4) -> "LoopFiles":
        """Return the file names of the loop whose results are called `name`."""
        usual = f"{name}_frames.csv", f"{name}_frames.png", f"{name}_overlay{video_suffix}"
        return cls(*usual, f"{name}_masks.tif", f"{name}.json")

    @property
    def beside_record(self) -> tuple[str, ...]:
        """Return the files that the record lists."""
        return self.table, self.chart, self.overlay, self.masks

    @property
    def written(self) -> tuple[str, ...]:
        """Return all files of the loop."""
        return (*self.beside_record, self.record)


def files_besides_record(name: str) -> tuple[str, ...]:
    """Return the names of all files but the record that a loop called `name` may have, whatever wrote its video."""
    files = (*LoopFiles.of(name, MP4).beside_record, *LoopFiles.of(name, WEBP).beside_record)
    return tuple(dict.fromkeys(files))
