"""One strict reader of numbers: what spreadsheets and people write, and nothing else that Python accepts."""

import pytest

from sonoseg.io.numbers import parse_integer, parse_number


@pytest.mark.parametrize(
    ("text", "value"), [("0.25", 0.25), ("-3", -3.0), ("+.5", 0.5), ("7.", 7.0), ("1e-3", 0.001), ("2E2", 200.0)]
)
def test_a_decimal_number_is_read(text: str, value: float) -> None:
    assert parse_number(text) == value


REFUSED = [
    "",
    " 1",
    "1 ",
    "1_0",
    "0_1",
    "1,234",
    "0,5",
    "nan",
    "inf",
    "-Infinity",
    "1e999",
    "0x10",
    "\uff11\uff12",
    "\u0663",
    "1.2.3",
]
REFUSED += [".", "e5", "--1", "1" * 400, "one", "1\n", "\ud800", "1\0"]


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no number; expected digits with at most one decimal point") as caught:
        parse_number(text)
    assert repr(text)[:20] in str(caught.value) and len(str(caught.value)) < 200


def test_an_integer_is_read_or_refused() -> None:
    assert [parse_integer(text) for text in ("0", "-7", "+12", "9" * 18)] == [0, -7, 12, int("9" * 18)]
    for text in ("1_0", "1.0", "1e3", "\uff19", "9" * 19, "9" * 5000, "", " 1"):
        with pytest.raises(ValueError, match=r"is no integer; expected at most 18 digits"):
            parse_integer(text)
