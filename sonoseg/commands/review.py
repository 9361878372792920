"""`sonoseg review`: look at results in the browser, correct them, and decide."""

import argparse
import getpass
import json
import shlex
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoseg.errors import SonoSegError, UsageError, choices, printable
from sonoseg.io.names import text_problem
from sonoseg.runs.checkout import default_workspace
from sonoseg.runs.command_line import EXIT_OK, number_type, path_type
from sonoseg.runs.workspace import INFERENCE_RECORD, PREPARATION_RECORD, RESULTS_TABLE, Workspace

if TYPE_CHECKING:  # imported late, because --help has to answer at once
    from sonoseg.models.model_header import ModelHeader
    from sonoseg.review.learning.label_check import DoubtfulLabels
    from sonoseg.review.live import LiveImages, Predictor
    from sonoseg.review.session import Review
    from sonoseg.review.sources import Results, Source
    from sonoseg.review.uploads import Uploads
    from sonoseg.schema.task import Task

INSTALL = "the review page needs starlette, uvicorn and python-multipart; install them: pip install 'sonoseg[review]'"
MAX_NAME = 100


def add(commands: Any) -> None:
    """Add the command and its flags."""
    purpose = "review results in the browser, and correct them"
    review = commands.add_parser("review", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    review.add_argument(
        "results",
        nargs="?",
        type=path_type,
        metavar="RESULTS",
        help="folder of results, such as result/spine, or of a cross-validation, Models/<task>/cross_validation, whose "
        "annotations are then checked (default: the only folder in result/)",
    )
    review.add_argument("--images", type=path_type, help="folder of the images (default: where they were segmented)")
    review.add_argument(
        "--model",
        type=path_type,
        nargs="+",
        metavar="FILE",
        help="model, or several, for pictures that are dropped onto the page and, with --images, for a folder without "
        "results (default: the one that the results were made with, where it is still there)",
    )
    review.add_argument("--reviewer", help="name that is stored with each decision (default: the user's)")
    review.add_argument(
        "--blind", action="store_true", help="show neither the prediction nor what other reviewers have drawn"
    )
    review.add_argument(
        "--dataset",
        action="store_true",
        help="serve no page, but write the accepted and corrected images as a data folder, RESULTS/review/dataset",
    )
    review.add_argument(
        "--workspace", type=path_type, help="folder that contains result/ (default: that of the results, or as usual)"
    )
    review.add_argument(
        "--port",
        type=number_type(int, 0, 65535),
        help="port; 0: a free one (default: the same for the same results, or a free one where that is taken)",
    )
    review.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    review.add_argument("--token-file", type=path_type, help="file with the token; needed with another --host")
    review.add_argument("--no-browser", action="store_true", help="only print the address")
    review.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C, or write the data folder."""
    try:
        from sonoseg.review.web.serve import Where, serve
    except ModuleNotFoundError as missing:
        raise UsageError(f"{INSTALL} ({missing.name} is missing)") from None
    from sonoseg.review.web.security import check_address, new_token, read_token

    check_address(arguments.host, arguments.token_file is not None)
    stop = threading.Event()
    review, uploads, live, predictor = opened(arguments)
    if arguments.dataset:
        from sonoseg.review.learning.dataset import FOLDER, write_dataset

        root = workspace_of(review.folder.parent, arguments.workspace)
        for line in write_dataset(review, root):
            print(printable(line), flush=True)
        elsewhere = [] if root.resolve() == default_workspace().resolve() else ["--workspace", str(root)]
        command = ["python", "train_test_data_preparation.py", *_preparation_flags(Workspace(root, review.task.name))]
        command += [*elsewhere, "--add", str(review.folder / FOLDER)]
        print(printable(f"next: {shlex.join(command)}"))
        return EXIT_OK
    token = read_token(arguments.token_file) if arguments.token_file else new_token()
    where = Where(arguments.host, arguments.port, not arguments.no_browser)
    if live is not None:
        threading.Thread(target=live.run_ahead, args=(stop,), daemon=True).start()
    try:
        for line in serve(review, token, where, uploads):
            print(printable(line), flush=True)
    finally:
        stop.set()
        if predictor is not None:
            predictor.close()
    return EXIT_OK


def opened(
    arguments: argparse.Namespace,
) -> "tuple[Review, Uploads | None, LiveImages | None, Predictor | DoubtfulLabels | None]":
    """Return the review, where dropped pictures go, the images that are segmented as they are opened, and the model."""
    from sonoseg.models.model_header import digest_of
    from sonoseg.review.live import LiveImages, Predictor
    from sonoseg.review.results import FOLDER
    from sonoseg.review.session import Review
    from sonoseg.review.sources import Joined, results_in
    from sonoseg.review.store import Rater
    from sonoseg.review.uploads import Uploads

    rater = Rater(reviewer_name(arguments.reviewer), arguments.blind)
    live: LiveImages | None = None
    source: Source
    if arguments.images and arguments.model and not (arguments.results and has_results(arguments.results)):
        models = model_headers(arguments.model)
        task = models[0].task
        folder = arguments.results or Workspace(arguments.workspace or default_workspace(), task.name).results
        if has_results(folder):
            remedy = (
                "name another folder for the decisions before --images, or leave out --model to review those results"
            )
            raise UsageError(f"{folder}: has results already, perhaps of other images; {remedy}")
        predictor = Predictor([str(model.path) for model in models])
        digest = digest_of([model.sha256 for model in models])
        source = live = LiveImages(task, folder / FOLDER / "live", predictor, digest)
        live.add(listed(arguments.images, task))
    else:
        folder = arguments.results or only_results((arguments.workspace or default_workspace()) / "result")
        if is_cross_validation(folder):
            from sonoseg.review.learning.label_check import DoubtfulLabels

            labels = DoubtfulLabels(folder, workspace_of(folder, arguments.workspace))
            return Review(labels, folder, rater), None, None, labels
        source = results = results_in(folder, arguments.images)
        models = models_for(arguments.model, results)
        if not models:
            return Review(source, folder, rater), None, None, None
        predictor = Predictor([str(model.path) for model in models])
    model_sha256 = digest_of([model.sha256 for model in models])
    dropped = LiveImages(source.task, folder / FOLDER / "live", predictor, model_sha256)
    review = Review(Joined([source, dropped]), folder, rater, can_segment=True)
    return review, Uploads(folder / FOLDER, dropped), live, predictor


def _preparation_flags(workspace: Workspace) -> list[str]:
    """Return the flags that name task file and data, as they were typed when stage 1 last ran."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--task", default=workspace.task)
    parser.add_argument("--data")
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, argparse.ArgumentError):
        command = json.loads((workspace.split / PREPARATION_RECORD).read_text(encoding="utf-8"))["command"]
        typed, _ = parser.parse_known_args(command[1:])
        return ["--task", typed.task, *(["--data", typed.data] if typed.data else [])]
    return ["--task", workspace.task]


def workspace_of(folder: Path, given: Path | None) -> Path:
    """Return the workspace that is given, else the one around `result/<task>` or a cross-validation, else the usual."""
    if given is not None:
        return given
    above = [parent for parent in folder.resolve().parents[:3] if (parent / "Train_Test_Dataset").is_dir()]
    return above[0] if above else default_workspace()


def has_results(folder: Path) -> bool:
    return (folder / INFERENCE_RECORD).is_file() or (folder / RESULTS_TABLE).is_file()


def is_cross_validation(folder: Path) -> bool:
    from sonoseg.runs.workspace import CROSS_VALIDATION

    return (folder / CROSS_VALIDATION).is_file() and not has_results(folder)


def only_results(folder: Path) -> Path:
    """Return the only folder of results. Raises UsageError when there are none, or several."""
    found = sorted(path for path in folder.glob("*") if has_results(path)) if folder.is_dir() else []
    if not found:
        raise UsageError(f"{folder}: no results there; run inference.py first, or name the folder of the results")
    if len(found) > 1:
        raise UsageError(f"{folder}: several results; name one of {choices([str(path) for path in found[:20]])}")
    return found[0]


def model_headers(models: Sequence[Path]) -> "list[ModelHeader]":
    """Return the headers of models. Raises ModelError."""
    from sonoseg.inference.segmenter import read_models

    return read_models(models)


def models_for(given: list[Path] | None, results: "Results") -> "list[ModelHeader]":
    """Return the models for dropped pictures: those given, else those of the results where they are still there.

    Raises ModelError, and UsageError for given models of another task than that of the results.
    """
    from sonoseg.models.model_header import read_header

    if given:
        models = model_headers(given)
        found, expected = models[0].task, results.task
        if (found.name, found.class_names) != (expected.name, expected.class_names):
            wanted = f"the results are of task {expected.name} with {', '.join(expected.class_names)}"
            raise UsageError(
                f"{given[0]}: a model of task {found.name} with {', '.join(found.class_names)}, and {wanted}; "
                "name a model of that task in --model"
            )
        return models
    with suppress(SonoSegError):  # replaced or damaged since: the results can be reviewed, and nothing is segmented
        models = [read_header(Path(path)) for path in results.models()]
        if models and models[0].task.class_names == results.task.class_names:
            return models
    return []


def listed(folder: Path, task: "Task") -> Any:
    """Return the images of a folder, as stage 4 lists them. Raises DataError."""
    from sonoseg.inference.sources import from_folder

    return from_folder(folder, task).sources


def reviewer_name(given: str | None) -> str:
    """Return the name that is stored with decisions: the one given, else that of the user. Raises UsageError."""
    from sonoseg.review.raters import MODEL

    name = (given if given is not None else user_name()).strip()
    if not 0 < len(name) <= MAX_NAME or text_problem(name):
        raise UsageError(f"--reviewer: expected a name of 1 to {MAX_NAME} characters without control characters")
    if name == MODEL:
        raise UsageError(f"--reviewer: the page of agreement calls the predictions {MODEL}; expected another name")
    return name


def user_name() -> str:
    """Return the name of the user, `reviewer` where the system has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "reviewer"
