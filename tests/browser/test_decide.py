"""Deciding: by keys alone, in two tabs, with a server that dies; nothing is lost and nothing is overwritten unasked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.page import ReviewPage
from tests.browser.server import Server

Serve = Callable[..., Server]
Visit = Callable[..., ReviewPage]


def test_ten_images_by_keys_alone(spines: Path, serve: Serve, visit: Visit) -> None:
    server = serve(spines)
    page = visit(server)
    seen = []
    for number in range(10):
        seen.append(page.name)
        if number % 3 == 1:
            page.press("x")
        elif number % 3 == 2 and page.page.query_selector("#structures [data-structure=MID][data-state=found]"):
            page.press("1", "h", "ArrowLeft", "Shift+ArrowDown", "c")
        else:
            page.press("a")
        page.until(lambda last=seen[-1]: page.name != last)
    lines = page.until(lambda: len(server.log()) == 10 and server.log())
    assert len(set(seen)) == 10
    assert [line["item"] for line in lines] == seen
    assert [line["decision"] for line in lines[:2]] == ["accepted", "rejected"]
    assert "corrected" in {line["decision"] for line in lines}
    page.until(lambda: page.page.inner_text("#progress-text").startswith("10 of "))
    page.page.go_back()
    page.opens(seen[-1])
    page.page.go_back()
    page.opens(seen[-2])
    page.page.go_forward()
    page.opens(seen[-1])
    page.press("u")
    page.until(lambda: server.log()[-1]["decision"] == "open")


def test_corrected_means_that_something_was_changed(spines: Path, serve: Serve, visit: Visit) -> None:
    server = serve(spines)
    page = visit(server)
    page.filter("structure", "MID")
    name = page.name
    page.press("c")
    page.until(lambda: "Nothing was changed" in page.page.inner_text("#notices"))
    assert page.name == name and not server.log()
    page.press("1", "ArrowLeft")
    assert page.decide("a")["decision"] == "corrected"


def test_two_tabs_overwrite_nothing(spines: Path, serve: Serve, visit: Visit) -> None:
    server = serve(spines)
    one = visit(server)
    two = visit(server, beside=one)
    name = one.name
    assert two.name == name
    one.decide("x")
    two.press("a")
    dialog = two.wait("dialog[open]")
    assert name in dialog.inner_text()
    assert len(server.log()) == 1
    two.page.click("text=Keep mine")
    two.until(lambda: len(server.log()) == 2)
    assert [line["decision"] for line in server.log()] == ["rejected", "accepted"]
    one.page.bring_to_front()
    one.page.go_back()
    one.opens(name)
    one.until(lambda: one.page.get_attribute("#decision", "data-decision") == "accepted")
    one.decide("x")
    two.page.bring_to_front()
    two.page.go_back()
    two.opens(name)
    two.until(lambda: two.page.get_attribute("#decision", "data-decision") == "rejected")


@pytest.mark.parametrize("key", ["c", "u"])  # after "u" the image stays open
def test_theirs_can_be_taken(key: str, heads: Path, serve: Serve, visit: Visit) -> None:
    server = serve(heads)
    one = visit(server)
    two = visit(server, beside=one)
    name = one.name
    one.page.bring_to_front()
    one.press("1", "h", "Shift+ArrowRight")
    theirs = one.shape("HEAD")
    one.decide("c")
    two.page.bring_to_front()
    two.press("1", "h", "h", "Shift+ArrowDown")
    assert two.shape("HEAD") != theirs
    two.press(key)
    two.wait("dialog[open]")
    two.page.click("text=Take theirs")
    two.page.wait_for_selector("dialog", state="detached")
    two.until(lambda: two.page.inner_text("#saving") == "All saved")
    if key == "c":
        two.choose(name)
    two.until(lambda: two.shape("HEAD") == theirs)
    two.wait("#decision[data-decision=corrected]")
    assert two.page.evaluate("Object.keys(localStorage).filter((key) => key.includes('|draft|')).length") == 0
    assert [line["decision"] for line in server.log()] == ["corrected"]


def test_a_killed_server_loses_nothing(spines: Path, serve: Serve, visit: Visit) -> None:
    server = serve(spines)
    page = visit(server)
    page.expects_faults = True
    first = page.name
    page.decide("a")
    page.until(lambda: page.name != first)
    second = page.name
    page.page.wait_for_timeout(800)  # what comes next is loaded ahead
    server.kill()
    page.press("x")
    page.wait("#connection:not([hidden])")
    page.until(lambda: page.name != second)
    third = page.name
    page.press("x")
    page.until(lambda: "2 to send" in page.page.inner_text("#saving"))
    server.start()
    page.until(lambda: len(server.log()) == 3)
    page.until(lambda: page.page.inner_text("#saving") == "All saved")
    assert page.page.query_selector("#connection[hidden]")
    assert [(line["item"], line["decision"]) for line in server.log()] == [
        (first, "accepted"),
        (second, "rejected"),
        (third, "rejected"),
    ]


def test_decisions_wait_for_the_next_start_of_page_and_server(spines: Path, serve: Serve, visit: Visit) -> None:
    server = serve(spines)
    page = visit(server)
    page.expects_faults = True
    page.page.wait_for_timeout(800)
    server.kill()
    page.press("x")
    page.wait("#connection:not([hidden])")
    page.page.close()
    server.start()
    again = visit(server, beside=page)
    again.until(lambda: [line["decision"] for line in server.log()] == ["rejected"])


def test_closing_a_tab_keeps_unsaved_changes(heads: Path, serve: Serve, visit: Visit) -> None:
    server = serve(heads)
    page = visit(server)
    name = page.name
    page.press("1", "Shift+ArrowRight", "i")
    page.page.keyboard.type("at the border")
    changed = page.shape("HEAD")
    page.page.close()
    again = visit(server, beside=page)
    again.opens(name)
    assert again.shape("HEAD") == changed
    assert again.page.input_value("#note") == "at the border"
    again.page.reload()
    again.wait("html[data-ready]")
    assert again.shape("HEAD") == changed
    line = again.decide("c")
    assert line["note"] == "at the border"
    assert line["after"]["shapes"][0]["points"] == changed
    left = "Object.keys(localStorage).filter((key) => key.includes('|draft|')).length"
    again.until(lambda: again.page.evaluate(left) == 0)


def test_a_delayed_decision_does_not_hold_the_others_up(heads: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(heads))
    page.expects_faults = True
    sent: list[str] = []

    def answer(route: Any) -> None:
        sent.append(route.request.url.split("/")[-2])
        if sent == ["first"]:
            route.fulfill(status=503, json={"error": "nothing was saved: No space left on device"})
        else:
            route.fulfill(json={"version": 1, "decision": "rejected", "shapes": [], "remarks": []})

    page.page.route("**/review", answer)
    page.page.evaluate(POST, [["first", None], ["second", None]])
    page.until(lambda: sent[:2] == ["first", "second"])
    page.until(lambda: "first is not saved yet: nothing was saved: No space" in page.page.inner_text("#notices"))
    page.until(lambda: sent == ["first", "second", "first"])
    page.until(lambda: page.page.inner_text("#saving") == "All saved")


def test_frames_of_a_loop_have_versions_of_their_own(heads: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(heads))
    bases: list[int] = []

    def answer(route: Any) -> None:
        bases.append(route.request.post_data_json["base_version"])
        route.fulfill(json={"version": 7, "decision": "rejected", "shapes": [], "remarks": []})

    page.page.route("**/review", answer)
    page.page.evaluate(POST, [["loop", 1], ["loop", 2]])
    page.until(lambda: len(bases) == 2)
    assert bases == [0, 0]


def test_a_refused_decision_leaves_the_earlier_one(heads: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(heads))
    page.expects_faults = True
    name = page.name
    page.decide("x")
    page.choose(name)
    refusal = {"error": "the results cannot be written"}
    page.page.route("**/review", lambda route: route.fulfill(status=422, json=refusal))
    page.press("a")
    page.until(lambda: f"{name} was not saved: the results" in page.page.inner_text("#notices"))
    page.wait("#rows .decision[data-decision=rejected]")
    page.choose(name)
    page.wait("#decision[data-decision=rejected]")


POST = """async (entries) => {
    const {post} = await import("/static/outbox.js");
    for (const [id, frame] of entries) {
        const empty = {shapes: [], not_visible: [], spacing_mm: null, note: ""};
        const body = {frame, base_version: 0, decision: "rejected", ...empty};
        post({id, frame, label: id, index: -1, body});
    }
}"""


def test_unsaved_changes_are_taken_over_without_locks(heads: Path, serve: Serve, visit: Visit) -> None:
    """Browsers have no locks for a plain http address of another machine."""
    server = serve(heads)
    page = visit(server)
    page.page.context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', {get: () => undefined})")
    page.open()
    assert page.page.evaluate("navigator.locks === undefined")
    page.press("1", "Shift+ArrowRight")
    changed = page.shape("HEAD")
    beside = visit(server, beside=page)  # the first tab is still open
    assert beside.shape("HEAD") != changed
    beside.page.close()
    page.page.reload()
    page.wait("html[data-ready]")
    assert page.shape("HEAD") == changed
    page.page.close()
    again = visit(server, beside=page)
    assert again.shape("HEAD") == changed
