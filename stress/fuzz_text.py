"""Task files at the level of YAML tokens, and command lines, for `stress.fuzz`."""

import contextlib
import inspect
import io
import random
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import image_preprocessing
import inference
import sonoseg.__main__ as tool
import train_test_data_preparation
import training
from sonoseg.errors import UsageError
from sonoseg.runs.command_line import EXIT_WRONG_USE, run_guarded, stage_parser
from sonoseg.schema.task_files import FOLDER, available_tasks, load_task
from stress.findings import Findings

TOKEN = re.compile(r"\n *|#[^\n]*|\"[^\"\n]*\"|'[^'\n]*'|[\[\]{},:]|[^\s\[\]{},:#\"']+| +")
ODD_TOKENS = (
    "2026-01-31", "12:30:45", "1:30", "9" * 5000, "0x" + "f" * 5000, "-1", "0", "1_0", "1e999", ".nan", "-.inf", "~",
    "null", "yes", "=", "<<", "<<: *a", "&a", "*a", "&a [*a, *a]", "!!set", "!!int", "!!python/name:os.system", "!",
    '"\\ud800"', '"\\0"', '"\\x9f"', "\u202e", "\ufeff", "\x85", "\t", "\n", "\n\n- ", "? ", "- ", "|", ">", "%", "@",
    "---", "...", "[" * 300, "{a: " * 300, "x" * 2000, "../../etc/passwd", "extends: task.yaml\n", "(a+)+$", "a{99999}",
)  # fmt: skip
STAGES = (train_test_data_preparation, image_preprocessing, training, inference)
ODD_VALUES = (
    "", "0", "-1", "1_0", "\uff11", "1e999", "nan", "inf", "0x10", "9" * 5000, "1000000000000", "1.5", "true", "a\0b",
    "x" * 5000, "../..", "/", "/dev/zero", "/dev/null/x", "loop", "loop/x", "loop.yaml", "\ud800", "\u202e", "\x1b[31m",
    "\n", "=1+1", "-", "--", "--task", "@file", "all", "auto", "cpu", "spine", "fetal_head", "%s", "{}", "CON", "~",
)  # fmt: skip


def fuzz_task_tokens(count: int, number: int, folder: Path, findings: Findings, advance: Callable[[], None]) -> None:
    """Task files whose tokens are replaced, removed, doubled or exchanged."""
    rng, path = random.Random(number), folder / "task.yaml"
    valid = [TOKEN.findall((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")) for name in available_tasks()]
    for _ in range(count):
        tokens = list(rng.choice(valid))
        for _ in range(rng.randint(0, 3)):
            _change(tokens, rng)
        path.write_bytes("".join(tokens).encode("utf-8", "surrogatepass"))
        findings.note("task tokens", partial(load_task, path), path.read_bytes)
        advance()


def _change(tokens: list[str], rng: random.Random) -> None:
    at, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
    match rng.randrange(4):
        case 0:
            tokens[at] = rng.choice(ODD_TOKENS)
        case 1:
            del tokens[at]
        case 2:
            tokens.insert(other, tokens[at])
        case 3:
            tokens[at], tokens[other] = tokens[other], tokens[at]


def fuzz_commands(count: int, number: int, folder: Path, findings: Findings, advance: Callable[[], None]) -> None:
    """Command lines of the four scripts, which are parsed, and of `sonoseg verify`, which runs on odd paths."""
    rng = random.Random(number)
    for name in ("loop", "loop.yaml"):
        (folder / name).symlink_to(name)
    shared = re.findall(r'"(--[a-z-]+)"', inspect.getsource(stage_parser))
    flags = {stage: shared + re.findall(r'"(--[a-z-]+)"', inspect.getsource(stage.parse_arguments)) for stage in STAGES}
    for _ in range(count):
        stage = rng.choice((*STAGES, tool))
        if stage is tool:
            # Absolute paths would be searched as a whole.
            paths = [value for value in ODD_VALUES if not value.startswith(("/", "..", "~"))]
            argv = ["verify", *(str(folder / rng.choice(paths)) for _ in range(rng.randint(0, 3)))]
            work = partial(_refused_or_accepted, tool.run_tool, argv)
        else:
            argv = [part for _ in range(rng.choice((0, 1, 1, 2, 3))) for part in _flag(flags[stage], folder, rng)]
            work = partial(_refused_or_accepted, partial(_parse, stage.parse_arguments), argv)
        findings.note("command line", work, partial(_as_bytes, argv))
        advance()


def _flag(flags: list[str], folder: Path, rng: random.Random) -> list[str]:
    values = [rng.choice(ODD_VALUES) for _ in range(rng.choice((0, 1, 1, 1, 1, 2)))]
    return [rng.choice(flags), *(str(folder / value) if value.startswith("loop") else value for value in values)]


def _parse(parse: Callable[[list[str]], object], argv: list[str]) -> int:
    parse(argv)
    return 0


def _refused_or_accepted(run: Callable[[list[str]], int], argv: list[str]) -> None:
    """Raise UsageError for a command line that is refused, AssertionError for one that ends otherwise."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_guarded(run, argv)  # type: ignore[arg-type]
    if code not in (0, 1, EXIT_WRONG_USE) or "unexpected" in err.getvalue() or "Traceback" in err.getvalue():
        raise AssertionError(f"exit code {code}: {err.getvalue()[-300:]}")
    if code == EXIT_WRONG_USE:
        raise UsageError(err.getvalue())


def _as_bytes(argv: list[str]) -> bytes:
    return "\n".join(argv).encode("utf-8", "surrogatepass")


TEXT_KINDS = {"task tokens": fuzz_task_tokens, "command line": fuzz_commands}
