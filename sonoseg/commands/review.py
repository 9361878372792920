"""`sonoseg review`: look at results in the browser, correct them, and decide."""

import argparse
import getpass
from pathlib import Path
from typing import Any

from sonoseg.errors import UsageError, printable
from sonoseg.runs.command_line import EXIT_OK, number_type, path_type

INSTALL = "the review page needs starlette, uvicorn and python-multipart; install them: pip install 'sonoseg[review]'"


def add(commands: Any) -> None:
    """Add the command and its flags."""
    purpose = "review results in the browser, and correct them"
    review = commands.add_parser("review", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    review.add_argument(
        "results", nargs="?", type=path_type, metavar="RESULTS", help="folder of results, such as result/spine"
    )
    review.add_argument("--images", type=path_type, help="folder of the images (default: where they were segmented)")
    review.add_argument("--reviewer", help="name that is stored with each decision (default: the user's)")
    review.add_argument(
        "--blind", action="store_true", help="show neither the prediction nor what other reviewers have drawn"
    )
    review.add_argument("--port", type=number_type(int, 0, 65535), default=0, help="port (default: a free one)")
    review.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    review.add_argument("--token-file", type=path_type, help="file with the token; needed with another --host")
    review.add_argument("--no-browser", action="store_true", help="only print the address")
    review.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    try:
        from sonoseg.review.serve import serve
    except ModuleNotFoundError as missing:
        raise UsageError(f"{INSTALL} ({missing.name} is missing)") from None
    from sonoseg.review.security import check_address, new_token, read_token
    from sonoseg.review.session import Review, results_of
    from sonoseg.review.store import Rater

    check_address(arguments.host, arguments.token_file is not None)
    token = read_token(arguments.token_file) if arguments.token_file else new_token()
    rater = Rater(arguments.reviewer or user_name(), arguments.blind)
    review = Review(results_of(arguments.results or Path("result"), arguments.images), rater)
    for line in serve(review, token, arguments.host, int(arguments.port), not arguments.no_browser):
        print(printable(line), flush=True)
    return EXIT_OK


def user_name() -> str:
    """Return the name of the user, `reviewer` where the system has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "reviewer"
