"""Results of stage 4 on small bright ellipses, and the page's server without a port."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import torch
from PIL import Image

import inference
from sonoseg.review.session import Review
from sonoseg.review.sources import results_in
from sonoseg.review.store import Rater
from sonoseg.review.web.server import application
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.dicom_files import region_item, write_dicom
from tests.models.members import always_load, member

TOKEN = "a-token-of-the-tests"
SIZE = (120, 160)
FRAMES = 4


def bright_is_head(images: torch.Tensor) -> torch.Tensor:
    return torch.stack([images[:, 0] <= 0.5, images[:, 0] > 0.5], dim=1).float() * 8


def head_picture(shift: int = 0) -> np.ndarray:
    image = np.full(SIZE, 10, np.uint8)
    cv2.ellipse(image, (70 + shift, 60), (45, 30), 20, 0, 360, 250, -1)
    return image


class Client:
    """Asks an ASGI application without a port, one request at a time, with the cookies of earlier answers."""

    def __init__(self, app: Any, base_url: str = "http://127.0.0.1:0", headers: dict[str, str] | None = None):
        self._app, self._base_url, self._headers = app, base_url, headers or {}
        self.cookies = httpx.Cookies()

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            more: dict[str, Any] = {"cookies": self.cookies, "headers": self._headers, "trust_env": False}
            async with httpx.AsyncClient(transport=transport, base_url=self._base_url, **more) as client:
                answer = await client.request(method, url, **options)
                self.cookies = client.cookies
                return answer

        return asyncio.run(ask())

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.request("GET", url, **options)

    def put(self, url: str, **options: Any) -> httpx.Response:
        return self.request("PUT", url, **options)

    def post(self, url: str, **options: Any) -> httpx.Response:
        return self.request("POST", url, **options)


class Page:
    """What the page does: requests with the cookie and the header."""

    def __init__(self, review: Review, **more: Any):
        self.app = application(review, TOKEN, **more)
        self.client = Client(self.app, headers={"X-Sonoseg": "1"})
        assert self.client.get("/", params={"token": TOKEN}).status_code == 303

    def get(self, path: str, status: int = 200, **parameters: Any) -> Any:
        answer = self.client.get(f"/api/{path}", **({"params": parameters} if parameters else {}))
        assert answer.status_code == status, answer.text
        return answer.json()

    def id_of(self, name: str) -> str:
        return {item["name"]: item["id"] for item in self.get("items", limit=500)["items"]}[name]

    def item(self, name: str, **parameters: Any) -> Any:
        return self.get(f"items/{self.id_of(name)}", **parameters)

    def measure(self, name: str, status: int = 200, **body: Any) -> Any:
        answer = self.client.post(f"/api/items/{self.id_of(name)}/measure", json={"spacing_mm": None, **body})
        assert answer.status_code == status, answer.text
        return answer.json()

    def save(self, name: str, decision: str, status: int = 200, **body: Any) -> Any:
        """Save a decision; what is not given is as it was loaded."""
        now = self.item(name, **({"frame": body["frame"]} if "frame" in body else {}))
        loaded = {key: now[key] for key in ("frame", "shapes", "not_visible", "note")}
        whole = {**loaded, "base_version": now["version"], "spacing_mm": None, "decision": decision, **body}
        answer = self.client.put(f"/api/items/{now['id']}/review", json=whole)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture(scope="session")
def head(fetal_head: Task) -> Task:
    """The task of a network that finds what is bright."""
    return changed(fetal_head, input={"size": (128, 160), "fit": "letterbox"})


@pytest.fixture(scope="session")
def segmented(head: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with pictures and their results: three heads, one without, a DICOM image with a region, a loop.

    The pixel spacing is known of the DICOM image only.
    """
    root = tmp_path_factory.mktemp("segmented")
    folder = root / "in"
    folder.mkdir()
    for number, name in enumerate("abc"):
        Image.fromarray(head_picture(4 * number)).save(folder / f"00{number}_{name}.png")
    nothing = np.full(SIZE, 10, np.uint8)
    nothing[0, 0] = 20
    Image.fromarray(nothing).save(folder / "003_nothing.png")
    framed = np.zeros((SIZE[0] + 20, SIZE[1] + 30), np.uint8)
    framed[10:-10, 15:-15] = head_picture(9)
    region = region_item(15, 10, 15 + SIZE[1] - 1, 10 + SIZE[0] - 1, (0.3, 0.3))
    write_dicom(folder / "004_framed.dcm", framed, [region], PatientName="Visible^Name")
    write_dicom(folder / "005_loop.dcm", np.stack([head_picture(3 * number) for number in range(FRAMES)]))
    with pytest.MonkeyPatch.context() as patch:
        always_load(patch, member(bright_is_head, head, "m", "f" * 64))
        out = root / "result" / "fetal_head"
        assert inference.main(["--images", str(folder), "--model", "m", "--output", str(out), "--jobs", "1"]) == 0
    return root


@pytest.fixture
def pictures(segmented: Path, tmp_path: Path) -> Path:
    return shutil.copytree(segmented / "in", tmp_path / "in")


@pytest.fixture
def results(segmented: Path, pictures: Path, tmp_path: Path) -> Path:
    """A copy of the results, which names the copy of the pictures."""
    out = shutil.copytree(segmented / "result" / "fetal_head", tmp_path / "result" / "fetal_head")
    run = json.loads((out / "run.json").read_text())
    run["settings"]["images"] = str(pictures)
    (out / "run.json").write_text(json.dumps(run))
    return out


@pytest.fixture
def page(results: Path) -> Page:
    return Page(Review(results_in(results, None), results, Rater("ann")))


@pytest.fixture
def page_of(results: Path) -> Callable[..., Page]:
    """Return a function that makes the page of a reviewer."""

    def make(name: str, blind: bool = False) -> Page:
        return Page(Review(results_in(results, None), results, Rater(name, blind)))

    return make
