"""Every failure of a script is one message and an exit code."""

import pytest

from sonoseg.errors import DataError, choices, printable
from sonoseg.runs.command_line import run_guarded


def ending(error):
    def run_stage(argv):
        raise error

    return run_guarded(run_stage, [])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("a.png: empty"), 2, "error: a.png: empty\n"),
        (OSError(28, "No space left on device", "out/a.png"), 2, "out/a.png: No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("x"), 2, "unexpected ZeroDivisionError: x"),
    ],
)
def test_failures(capsys, error, code, message):
    assert ending(error) == code
    assert message in capsys.readouterr().err


def test_ctrl_c_while_a_class_is_created_is_an_interruption(capsys):
    class Interrupting:
        def __set_name__(self, owner, name):
            raise KeyboardInterrupt

    def run_stage(argv):
        type("Owner", (), {"field": Interrupting()})  # Python 3.11 raises a RuntimeError that names the cause
        return 0

    assert run_guarded(run_stage, []) == 130
    assert capsys.readouterr().err.startswith("interrupted")


def test_success_keeps_its_code():
    assert run_guarded(lambda argv: 1, []) == 1


def test_choices():
    assert (choices([]), choices(["a"]), choices(["a", "b", "c"])) == ("none", "a", "a, b or c")


def test_printable_text_has_no_control_characters():
    assert printable("\x1b[31m\nred\udcff é\\") == "\\x1b[31m\\nred\\udcff é\\"
