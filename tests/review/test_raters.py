"""Agreement of raters with each other and with the model."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from sonoseg.commands.review import reviewer_name
from sonoseg.errors import UsageError
from sonoseg.review.raters import agreement_page
from sonoseg.review.web.security import policy_of
from tests.review.conftest import Page


def moved(page: Page, name: str, by: float) -> list[dict[str, Any]]:
    (shape,) = page.item(name)["predicted"]
    return [{**shape, "points": [[x + by, y] for x, y in shape["points"]]}]


def test_one_rater_has_no_agreement(page: Page) -> None:
    page.save("000_a", "accepted")
    assert "fewer than two reviewers" in page.get("agreement", status=404)["error"]


def test_raters_are_compared_with_each_other_and_with_the_model(page_of: Callable[..., Page]) -> None:
    ann, ben, seen = page_of("ann", blind=True), page_of("ben"), page_of("unblind")
    for number, name in enumerate(("000_a", "001_b", "002_c", "004_framed")):
        ann.save(name, "corrected", shapes=moved(seen, name, 2.0 * number))
        ben.save(name, "accepted", shapes=moved(seen, name, 0))
    ben.save("003_nothing", "accepted")  # by one rater only
    assert seen.get("session")["agreement"] and not ann.get("session")["agreement"]  # not for a blind rater
    answer = seen.client.get("/api/agreement")
    assert answer.status_code == 200 and answer.headers["content-security-policy"] == policy_of(answer.text)
    page = answer.text
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == ["Raters", "ann and ben", "model and ann", "model and ben"]
    assert "4 images that at least two raters have decided about" in page
    assert "the images only" in page and "what others have drawn" in page
    with_model = page[page.index("model and ben") :]
    assert ">1.000</td>" in with_model  # ben has accepted everything
    others = page[page.index("ann and ben") : page.index("model and ann")]
    dice = float(re.findall(r"<td>HEAD</td><td>4</td><td>0</td><td>(0\.\d+)</td>", others)[0])
    assert 0.85 < dice < 1
    assert "Limits" in others or "limits of agreement" in others
    assert page.count('src="data:image/png') >= 3 and "<script" not in page


def test_what_only_one_rater_has_drawn_counts_as_dice_0(page_of: Callable[..., Page]) -> None:
    ann, ben = page_of("ann"), page_of("ben")
    ann.save("000_a", "corrected", shapes=[])
    ben.save("000_a", "corrected", shapes=moved(ann, "000_a", 0))
    page = ann.client.get("/api/agreement").text
    pair = page[page.index("ann and ben") :]
    assert "<td>HEAD</td><td>1</td><td>1</td><td>0.000</td>" in pair
    ben.save("000_a", "rejected")
    assert agreement_page(ann.app.app.routes[0].endpoint.__self__.review) is None


def test_no_reviewer_has_the_name_of_the_predictions() -> None:
    assert reviewer_name(" ann ") == "ann"
    with pytest.raises(UsageError, match="calls the predictions model; expected another name"):
        reviewer_name("model")


def test_names_of_raters_are_text(page_of: Callable[..., Page]) -> None:
    ann, ben = page_of(r"<b>$\frac{$ & co</b>"), page_of("ben")
    for image in ("000_a", "001_b", "002_c"):
        ann.save(image, "accepted")
        ben.save(image, "accepted")
    page = ann.client.get("/api/agreement").text
    assert "<b>" not in page and r"&lt;b&gt;$\frac{$ &amp; co&lt;/b&gt;" in page
