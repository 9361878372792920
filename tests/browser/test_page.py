"""The page as a whole: names that are no HTML, dropped files, sizes of screens, contrast, focus, 10,000 results."""

import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.page import ReviewPage
from tests.browser.results import HOSTILE, many_results
from tests.browser.server import Server

Serve = Callable[..., Server]
Visit = Callable[..., ReviewPage]
LEAST_CONTRAST = 4.5
STATIC = Path(__file__).parents[2] / "sonoseg" / "review" / "static"


def test_a_hostile_file_name_is_text(spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server, 1280, 1200)  # with all rows in sight
    name = HOSTILE.removesuffix(".png")
    page.choose(name)
    page.press("x")
    page.until(lambda: name in page.page.inner_text("#notices"))
    assert "taken" not in page.page.title()
    assert page.page.evaluate("document.querySelectorAll('img[src=x]').length") == 0


def test_dropped_files_are_segmented(spines: Path, spine_source: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(spines))
    picture = next((spine_source.parent / "data" / "images").glob("Image_*.png")).read_bytes()
    drop(page, {"dropped.png": picture + b"\0", HOSTILE: b"no picture"})
    page.until(lambda: HOSTILE in page.page.inner_text("#notices"), 60)
    page.until(lambda: page.name.startswith("dropped"), 60)
    page.until(lambda: page.page.query_selector("#structures [data-state=found]"), 60)
    assert page.decide("a")["decision"] == "accepted"


def test_dropped_files_without_a_model(heads: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(heads))
    drop(page, {"dropped.png": b"abc"})
    page.until(lambda: "started with a model" in page.page.inner_text("#notices"))
    assert not [url for url in page.requests if url.endswith("/upload")]


def drop(page: ReviewPage, files: dict[str, bytes]) -> None:
    script = """(files) => {
        const data = new DataTransfer();
        for (const [name, text] of Object.entries(files)) {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            data.items.add(new File([bytes], name, {type: "image/png"}));
        }
        for (const type of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
    }"""
    page.page.evaluate(script, {name: b64encode(data).decode() for name, data in files.items()})


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080)])
def test_everything_is_in_sight(width: int, height: int, spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server, width, height)
    script = """() => [...document.querySelectorAll("button, select, textarea, #stage, .value")]
        .filter((node) => node.checkVisibility())
        .map((node) => [node.ariaLabel || node.textContent || node.id, node.getBoundingClientRect().toJSON()])"""
    for label, box in page.page.evaluate(script):
        inside = box["left"] >= 0 and box["top"] >= 0 and box["right"] <= width and box["bottom"] <= height
        assert inside, f"{label} is outside of {width}x{height}: {box}"
    assert page.page.evaluate("[document.body.scrollWidth, document.body.scrollHeight]") == [width, height]
    stage = page.page.locator("#stage").bounding_box()
    assert stage["width"] * stage["height"] > 0.4 * width * height
    image = page.view()["zoom"] * 230  # the height of the smaller phantoms
    assert image > 0.55 * stage["height"]


def test_contrast_of_all_texts(spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server)
    page.press("1", "ArrowRight")
    page.decide("x")
    page.page.wait_for_timeout(300)
    found = page.page.evaluate(CONTRAST)
    assert len(found) > 40
    page.press("?")
    page.wait("dialog[open]")
    found += page.page.evaluate(CONTRAST)
    low = {text: ratio for text, ratio in found if ratio < LEAST_CONTRAST}
    assert not low


CONTRAST = """() => {
    const channels = (text) => text.match(/[\\d.]+/g).map(Number);
    const linear = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = channels(getComputedStyle(node).backgroundColor);
            if (colour.length < 4 || colour[3] > 0.5) return colour;
        }
        return [0, 0, 0];
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        const isOff = node.closest(":disabled, .sr, script");
        if (!walker.currentNode.textContent.trim() || !node.checkVisibility() || isOff) continue;
        const text = luminance(channels(getComputedStyle(node).color));
        const [a, b] = [text, luminance(behind(node))].sort((x, y) => y - x);
        found.push([walker.currentNode.textContent.trim(), (a + 0.05) / (b + 0.05)]);
    }
    return found;
}"""


def test_focus_goes_from_the_list_to_the_image_to_the_decision(spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server)
    page.page.evaluate("document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex')")
    order, unseen, unnamed = [], [], []
    for _ in range(60):
        page.press("Tab")
        name, part, outline, label = page.page.evaluate(FOCUSED)
        if name in order[:1]:
            break
        if part == "none":  # the browser's own, after the last
            continue
        order.append(name)
        unseen += [name] if outline == "none" else []
        unnamed += [] if label else [name]
    parts = [part for index, part in enumerate(map(_part, order)) if index == 0 or part != _part(order[index - 1])]
    assert parts == ["skip", "header", "queue", "toolbar", "stage", "panel", "decisions"], order
    assert not unseen
    assert not unnamed
    page.page.click("#help")
    page.wait("dialog[open]")
    for _ in range(8):
        page.press("Tab")
        assert page.page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
    page.press("Escape")
    page.page.wait_for_selector("dialog", state="detached")


def _part(name: str) -> str:
    return name.partition(" ")[0]


FOCUSED = """() => {
    const node = document.activeElement;
    const part = ["skip", "decisions", "stage", "toolbar"].find((id) => node.closest(`#${id}`))
        ?? ["header", ".queue", ".panel"].find((each) => node.closest(each))?.replace(".", "")
        ?? (node.closest("main") ? "stage" : "none");
    const label = node.getAttribute("aria-label") || node.labels?.[0]?.textContent || node.textContent.trim();
    return [`${part} ${node.id || label}`, part, getComputedStyle(node).outlineStyle, label];
}"""


def test_a_frame_whose_picture_fails_does_not_show_another_one(heads: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(heads))
    page.expects_faults = True
    page.until(lambda: page.page.evaluate(NEXT_FRAME.replace("frame: 2", "frame: 1")))
    assert not page.page.evaluate(NEXT_FRAME)


NEXT_FRAME = """async () => {
    const {state} = await import("/static/state.js"), picture = await import("/static/picture.js");
    state.item = {...state.item, frames: 2, frame: 2};
    await picture.show().catch(() => null);
    return picture.shownCanvas() !== null;
}"""


def test_letters_can_be_typed_into_the_note_and_switched_off(heads: Path, serve: Serve, visit: Visit) -> None:
    server = serve(heads)
    page = visit(server)
    page.press("i")
    page.page.keyboard.type("axe ?")
    assert page.page.input_value("#note") == "axe ?"
    page.press("Escape", "?")
    page.wait("dialog[open]")
    page.page.uncheck("#single-keys")
    page.press("Escape")
    page.press("x")
    page.page.wait_for_timeout(300)
    assert not server.log()


def opened_twice(server: Server, visit: Visit) -> tuple[ReviewPage, list[float]]:
    """Return a page, and the seconds that its first image took when it was opened in a new window, and again."""
    start = time.monotonic()
    page = visit(server)
    first = time.monotonic()
    page.open()
    return page, [first - start, time.monotonic() - first]


def test_ten_thousand_results_open_at_once(tmp_path: Path, spine_server: Server, serve: Serve, visit: Visit) -> None:
    server = serve(many_results(tmp_path / "many", 10_000))
    _, few = opened_twice(spine_server, visit)  # a dozen results, on this machine as busy as it is
    page, many = opened_twice(server, visit)
    assert page.page.inner_text("#progress-text") == "0 of 10000 reviewed"
    assert page.page.locator("#rows [role=option]").count() < 40
    page.page.evaluate("document.getElementById('list').scrollTop = 68 * 7000")
    page.until(lambda: page.page.query_selector("#row-7003 .name"))
    page.page.click("#row-7003")
    page.until(lambda: page.page.get_attribute("#row-7003", "aria-selected") == "true")
    page.page.reload()
    page.wait("html[data-ready]")
    page.until(lambda: page.page.query_selector("#row-7003[aria-selected=true]"))
    assert all(long < 1.5 * short + 1 for long, short in zip(many, few, strict=True))


def test_no_inline_code_and_no_foreign_address() -> None:
    markup = (STATIC / "index.html").read_text()
    assert "style=" not in markup and "onclick" not in markup and "http" not in markup
    for path in STATIC.glob("*.js"):
        text = path.read_text()
        if path.name == "konva.min.js":
            continue
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "eval(" not in text, path.name
        assert "https:" not in text and text.count("http:") == text.count("http://www.w3.org"), path.name
        assert len(text.splitlines()) <= 300, path.name
