"""SonoSeg: segment ultrasound images and measure what is found, in millimetres."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonoseg.infer.segmenter import Segmenter

__all__ = ["Segmenter"]


def __getattr__(name: str) -> Any:
    """Load the segmenter, and torch with it, when it is first asked for: `import sonoseg` alone stays instant."""
    if name == "Segmenter":
        from sonoseg.infer.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
