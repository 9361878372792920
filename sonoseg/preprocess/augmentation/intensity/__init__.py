"""Intensity steps of the augmentation, one module each. They change the image alone and never the mask.

A new step is a class with the interface of `IntensityStep`, a line in `STEPS`, and a section of the same name in
`schema/images.py`.
"""

from sonoseg.preprocess.augmentation.intensity.blur import BlurStep
from sonoseg.preprocess.augmentation.intensity.contrast import ContrastStep
from sonoseg.preprocess.augmentation.intensity.depth_gain import DepthGainStep
from sonoseg.preprocess.augmentation.intensity.gain import GainStep
from sonoseg.preprocess.augmentation.intensity.gamma import GammaStep
from sonoseg.preprocess.augmentation.intensity.low_resolution import LowResolutionStep
from sonoseg.preprocess.augmentation.intensity.noise import NoiseStep
from sonoseg.preprocess.augmentation.intensity.shadow import ShadowStep
from sonoseg.preprocess.augmentation.intensity.speckle import SpeckleStep
from sonoseg.preprocess.augmentation.intensity.step import IntensityStep

# In the order in which the signal meets them: tissue, resolution, electronics, display.
STEPS: dict[str, type[IntensityStep]] = {
    "speckle": SpeckleStep,
    "shadow": ShadowStep,
    "depth_gain": DepthGainStep,
    "blur": BlurStep,
    "low_resolution": LowResolutionStep,
    "noise": NoiseStep,
    "gain": GainStep,
    "contrast": ContrastStep,
    "gamma": GammaStep,
}
"""Field of `augmentation` in a task file -> its step, in the order in which they are applied."""
