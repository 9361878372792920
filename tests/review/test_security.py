"""Who may use the server, and what a page of another address may not do."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sonoseg.errors import UsageError
from sonoseg.review.web.security import check_address, new_token, policy_of, read_token
from sonoseg.review.web.server import application
from tests.review.conftest import TOKEN, Client, Page

CHANGES = {"frame": 1, "base_version": 0, "decision": "rejected", "shapes": []}


def test_nothing_is_answered_without_the_token(page: Page) -> None:
    stranger = Client(page.app)
    for path in ("/", "/api/session", "/api/items", "/api/ping", "/static/index.html", "/api/nothing"):
        answer = stranger.get(path)
        assert answer.status_code == 401 and "token" in answer.json()["error"], path
    assert stranger.get("/", params={"token": TOKEN[:-1] + "x"}).status_code == 401
    assert not stranger.cookies
    stranger.cookies.set("sonoseg_review_0", TOKEN, domain="127.0.0.1")  # the token itself is no cookie
    assert stranger.get("/api/ping").status_code == 401


def test_the_token_becomes_a_cookie_that_scripts_cannot_read(page: Page) -> None:
    answer = Client(page.app).get("/", params={"token": TOKEN})
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
    linked = Client(page.app).get("/", params={"token": TOKEN}, headers={"Sec-Fetch-Site": "cross-site"})
    assert linked.status_code == 200 and 'http-equiv="refresh"' in linked.text  # a redirect would lack the cookie


def test_another_server_on_this_machine_has_another_cookie(page: Page) -> None:
    other = Client(application(None, TOKEN, port=81))  # type: ignore[arg-type]
    assert "sonoseg_review_81=" in other.get("/", params={"token": TOKEN}).headers["set-cookie"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_addresses_change_and_read_nothing(page: Page, results: Path, headers: dict[str, str]) -> None:
    path = f"/api/items/{page.id_of('000_a')}"
    assert page.client.put(f"{path}/review", json=CHANGES, headers=headers).status_code == 403
    assert page.client.get(path, headers=headers).status_code == 403
    assert not (results / "review" / "reviews.jsonl").exists()


def test_the_own_page_may(page: Page) -> None:
    path = f"/api/items/{page.id_of('000_a')}/review"
    own = {"Origin": "http://127.0.0.1:0", "Sec-Fetch-Site": "same-origin"}
    assert page.client.put(path, json=CHANGES, headers=own).status_code == 200


def test_a_form_of_another_page_lacks_the_header(page: Page) -> None:
    form = Client(page.app)
    form.cookies = page.client.cookies
    answer = form.put(f"/api/items/{page.id_of('000_a')}/review", json=CHANGES)
    assert answer.status_code == 403 and "X-Sonoseg" in answer.json()["error"]
    assert form.post("/api/upload", files={"a": b""}).status_code == 403


def test_every_answer_forbids_inline_code_and_framing(page: Page) -> None:
    for path in ("/", "/api/session", "/api/nothing", f"/api/items/{page.id_of('000_a')}/image"):
        for client in (page.client, Client(page.app)):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
            assert "no-store" in headers["cache-control"] or "no-cache" in headers["cache-control"]


@pytest.mark.parametrize(
    "identity",
    ["..", "../../run", "%2e%2e%2frun", "..%2f..%2fetc%2fpasswd", "run", "000_a", "0" * 16, "0" * 5000, "%00", "a%0a"],
)
def test_no_path_of_a_request_reaches_the_file_system(page: Page, identity: str) -> None:
    for path in ("", "/image", "/thumbnail", "/series"):
        answer = page.client.get(f"/api/items/{identity}{path}")
        assert answer.status_code in (404, 405) and "error" in answer.json(), (identity, path)
    for name in ("%2e%2e/session.py", "..%2f..%2fsession.py", "/etc/passwd", f"x{identity}"):
        assert page.client.get(f"/static/{name}").status_code == 404


def test_wrong_methods_types_and_sizes(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/api/items/{page.id_of('000_a')}/review"
    assert page.client.post(path, json={}).status_code == 405
    assert page.client.put(path, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    as_json = {"Content-Type": "application/json"}
    for content in (b"{", b"[]", b'{"a": NaN}', b"[" * 100_000, b"\xff"):
        assert page.client.put(path, content=content, headers=as_json).status_code == 400
    monkeypatch.setattr("sonoseg.review.web.server.MAX_BODY", 100)
    assert page.client.put(path, content=b" " * 101, headers=as_json).status_code == 413
    assert page.client.post("/api/upload", files={"a": b"x"}).status_code == 403  # no model here


def test_an_unexpected_error_is_one_sentence(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Visible^Name")

    monkeypatch.setattr("sonoseg.review.session.Review.session", fail)
    answer = page.client.get("/api/session")
    assert answer.status_code == 500 and "RuntimeError" in answer.text and "Visible" not in answer.text


def test_other_machines_need_a_token_file(tmp_path: Path) -> None:
    check_address("127.0.0.1", False)
    check_address("0.0.0.0", True)
    with pytest.raises(UsageError, match="other machines could reach"):
        check_address("0.0.0.0", False)
    token = read_token(tmp_path / "token")
    assert len(token) >= 40 and read_token(tmp_path / "token") == token
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    os.chmod(tmp_path / "token", 0o640)
    with pytest.raises(UsageError, match="others may read"):
        read_token(tmp_path / "token")
    os.chmod(tmp_path / "token", 0o600)
    (tmp_path / "token").write_text("short")
    with pytest.raises(UsageError, match="5 characters; expected a token"):
        read_token(tmp_path / "token")
    assert new_token() != new_token()


def test_hosts_of_a_server_for_other_machines(page_of: Callable[..., Page]) -> None:
    page = page_of("ann")
    page.app.host = "0.0.0.0"
    assert page.client.get("/api/ping", headers={"Host": "192.168.1.5:80"}).status_code == 200
    assert page.client.get("/api/ping", headers={"Host": "evil.example"}).status_code == 403


def test_the_policy_of_a_page_names_its_style_sheet() -> None:
    policy = policy_of("<style>a {}</style><p>")
    assert "'sha256-" in policy and "script-src" not in policy and "unsafe" not in policy


def test_an_address_with_many_fields_has_no_token(page: Page) -> None:
    query = "&".join(f"f{number}=1" for number in range(101))
    assert page.client.get(f"/?{query}").status_code == 200  # by its cookie
    page.client.cookies.clear()
    assert page.client.get(f"/?{query}&token={TOKEN}").status_code == 401
