"""`sonoseg models`: the models that come with SonoSeg."""

import argparse
from typing import Any

from sonoseg.runs.command_line import EXIT_OK


def add(commands: Any) -> None:
    """Add the command and its flags."""
    purpose = "list the trained models that come with SonoSeg"
    models = commands.add_parser("models", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    models.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the registry: what each model is for, what it was trained on, and how it scored."""
    from sonoseg.models.registry import registered_models

    for entry in registered_models():
        print(f"{entry.name} {entry.version}: task {entry.task}")
        print(f"  trained on {entry.trained_on}; quality model from {entry.quality_from}")
        print(f"  scores on {entry.scored_on}: {', '.join(score.text for score in entry.scores)}")
        print(f"  licence {entry.licence}; {entry.attribution}")
        print(f"  file {entry.path}")
        print(f"  SHA-256 {entry.sha256}")
    print("use: inference.py --model NAME, or network.init: NAME in a task file; not for clinical use")
    return EXIT_OK
