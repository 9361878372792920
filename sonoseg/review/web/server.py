"""The HTTP interface: which address leads to what, limits of requests, and errors as one sentence."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sonoseg.errors import DataError, SonoSegError
from sonoseg.review.decide import measure, save
from sonoseg.review.queue import MOST, Query
from sonoseg.review.raters import agreement_page
from sonoseg.review.session import NotAllowed, NotFound, Review
from sonoseg.review.store import Busy, Conflict
from sonoseg.review.uploads import MAX_BYTES, MAX_FILES, Uploads, problem_of
from sonoseg.review.web.security import Guard, policy_of, unexpected

STATIC = Path(__file__).parents[1] / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
"""Suffix of a file of the page -> its media type; files with other suffixes are not served."""
MAX_BODY = 32 << 20
"""Bytes of a request: painted masks of several structures."""
_UNIMPORTANT = ("true", "yes", "1"), ("false", "no", "0")

Handler = Callable[[Request], Awaitable[Response]]


class Refused(SonoSegError):
    """A request that cannot be taken; `status`: of the answer."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def static_files() -> dict[str, Path]:
    """Return name -> file of all files of the page; requests are looked up in it and lead to no other file."""
    files = sorted(path for path in STATIC.rglob("*") if path.is_file() and path.suffix in TYPES)
    return {path.relative_to(STATIC).as_posix(): path for path in files}


async def json_body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request. Raises Refused when it is too large, of another type, or none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "expected content of the type application/json")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY:
            raise Refused(413, f"the request has more than {MAX_BODY >> 20} MiB")
    try:
        value = json.loads(bytes(data), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(400, "the request is no JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "expected a JSON object")
    return value


def _no_constant(text: str) -> None:
    raise ValueError(text)


def whole_number(request: Request, name: str, default: int | None, most: int = 10**9) -> int | None:
    """Return a number of the address; at most `most`. Raises Refused for another text."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise Refused(400, f"{name}: expected a whole number")
    return min(int(text), most)


async def pictures_of(request: Request) -> list[tuple[str, bytes]]:
    """Return (file name as stated, bytes) of the pictures of a form. Raises Refused beyond the limits."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise Refused(415, "expected pictures as multipart/form-data")
    count = 0

    async def limited() -> AsyncGenerator[bytes, None]:
        nonlocal count
        async for part in request.stream():
            count += len(part)
            if count > MAX_BYTES:
                raise Refused(413, f"the pictures have more than {MAX_BYTES >> 20} MiB together; drop fewer at once")
            yield part

    try:
        form = await MultiPartParser(request.headers, limited(), max_files=MAX_FILES, max_fields=0).parse()
    except MultiPartException as problem:
        raise Refused(413 if "Too many" in problem.message else 400, f"pictures: {problem.message}") from None
    async with form_closed(form):
        found = [one for _, one in form.multi_items() if isinstance(one, UploadFile)]
        return [(one.filename or "picture", await one.read()) for one in found]


@asynccontextmanager
async def form_closed(form: FormData) -> AsyncIterator[None]:
    """Close the temporary files of a form at the end of the block."""
    try:
        yield
    finally:
        await form.close()


class Pages:
    """The handlers of all addresses. uploads: None where pictures cannot be segmented."""

    def __init__(self, review: Review, uploads: Uploads | None = None):
        self.review, self.uploads, self.files = review, uploads, static_files()

    def routes(self) -> list[Route]:
        item = "/api/items/{id}"
        return [
            Route("/", self.index),
            Route("/static/{name:path}", self.static),
            Route("/api/ping", self.ping),
            Route("/api/session", self.session),
            Route("/api/items", self.items),
            Route(item, self.item),
            Route(f"{item}/image", self.image),
            Route(f"{item}/thumbnail", self.thumbnail),
            Route(f"{item}/series", self.series),
            Route("/api/upload", self.upload, methods=["POST"]),
            Route("/api/agreement", self.agreement),
            Route(f"{item}/measure", self.measure, methods=["POST"]),
            Route(f"{item}/review", self.save, methods=["PUT"]),
        ]

    async def index(self, request: Request) -> Response:
        if "index.html" not in self.files:
            raise Refused(503, "the page is not part of this installation; install sonoseg again")
        return self._file("index.html")

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.files:
            raise NotFound("there is no such file")
        return self._file(name)

    def _file(self, name: str) -> Response:
        path = self.files[name]
        return Response(path.read_bytes(), media_type=TYPES[path.suffix], headers={"cache-control": "no-cache"})

    async def ping(self, request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def session(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.review.session))

    async def items(self, request: Request) -> Response:
        given = request.query_params
        reviewed = given.get("reviewed", "").lower()
        yes, no = _UNIMPORTANT
        query = Query(
            status=given.get("status", ""),
            structure=given.get("structure", ""),
            patient=given.get("patient", ""),
            reviewed=True if reviewed in yes else False if reviewed in no else None,
            offset=whole_number(request, "offset", 0) or 0,
            limit=whole_number(request, "limit", 100, MOST) or 0,
            pages_of=given.get("list", ""),
        )
        return JSONResponse(await run_in_threadpool(self.review.listing, query))

    async def item(self, request: Request) -> Response:
        frame = whole_number(request, "frame", None)
        return JSONResponse(await run_in_threadpool(self.review.details, request.path_params["id"], frame))

    async def image(self, request: Request) -> Response:
        kind = request.query_params.get("kind", "original")
        if kind not in ("original", "enhanced"):
            raise NotFound("kind: expected original or enhanced")
        return await self._picture(request, kind)

    async def thumbnail(self, request: Request) -> Response:
        return await self._picture(request, "thumbnail")

    async def _picture(self, request: Request, kind: str) -> Response:
        frame = whole_number(request, "frame", None)
        data, tag = await run_in_threadpool(self.review.picture, request.path_params["id"], kind, frame)
        headers = {"etag": f'"{tag}"', "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == f'"{tag}"':
            return Response(status_code=304, headers=headers)
        return Response(data, media_type="image/png", headers=headers)

    async def series(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.review.series, request.path_params["id"]))

    async def measure(self, request: Request) -> Response:
        body = await json_body(request)
        return JSONResponse(await run_in_threadpool(measure, self.review, request.path_params["id"], body))

    async def save(self, request: Request) -> Response:
        body = await json_body(request)
        return JSONResponse(await run_in_threadpool(save, self.review, request.path_params["id"], body))

    async def upload(self, request: Request) -> Response:
        if self.uploads is None or self.review.read_only:
            raise NotAllowed(self.review.read_only or "this review has no model to segment pictures with")
        ids: list[str] = []
        problems: list[dict[str, Any]] = []
        for name, data in await pictures_of(request):
            try:
                ids += await run_in_threadpool(self.uploads.take, name, data)
            except DataError as error:
                problems.append(problem_of(name, error))
        return JSONResponse({"items": ids, "problems": problems})

    async def agreement(self, request: Request) -> Response:
        page = await run_in_threadpool(agreement_page, self.review)
        if page is None:
            raise NotFound("fewer than two reviewers have decided about the same image")
        return Response(
            page, media_type="text/html; charset=utf-8", headers={"content-security-policy": policy_of(page)}
        )


async def on_error(request: Request, error: Exception) -> Response:
    """Return an error as JSON: one sentence, and for a conflict who has saved."""
    content: dict[str, Any] = {"error": error.reason if isinstance(error, DataError) else str(error)}
    status = 422
    if isinstance(error, Refused):
        status = error.status
    elif isinstance(error, NotFound):
        status = 404
    elif isinstance(error, NotAllowed):
        status = 403
    elif isinstance(error, Conflict):
        status = 409
        content |= {key: error.entry[key] for key in ("version", "reviewer", "time")}
    elif isinstance(error, Busy):
        status = 503
    elif isinstance(error, OSError):
        saving = request.method == "PUT"
        what, again = ("nothing was saved", "save again") if saving else ("this is not possible now", "try again")
        status, content = 503, {"error": f"{what}: {error.strerror}; correct that, and {again}"}
    return JSONResponse(content, status)


async def on_unknown(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return JSONResponse({"error": "there is no such address" if status == 404 else "not for this address"}, status)


async def on_unexpected(request: Request, error: Exception) -> Response:
    return JSONResponse(unexpected(error), 500)


def application(
    review: Review, token: str, host: str = "127.0.0.1", port: int = 0, uploads: Uploads | None = None
) -> Guard:
    """Return the ASGI application; host, port: where it will listen; uploads: None without a model."""
    handlers: Any = {SonoSegError: on_error, OSError: on_error, 404: on_unknown, 405: on_unknown}
    handlers[Exception] = on_unexpected
    return Guard(Starlette(routes=Pages(review, uploads).routes(), exception_handlers=handlers), token, host, port)
