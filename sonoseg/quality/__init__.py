"""How far a result can be trusted: expected Dice, intervals of measurements, unfamiliar images. Imports no torch."""
