"""The server's routes. docs/server.md describes them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from picochat.serve.answers import ChatWriter, Writer
from picochat.serve.batcher import Batcher, Ticket
from picochat.serve.completions import CompletionWriter
from picochat.serve.errors import ApiError
from picochat.serve.fields import parse_object
from picochat.serve.guard import SECURITY_HEADERS, Guard
from picochat.serve.metrics import CONTENT_TYPE, Metrics, resident_bytes
from picochat.serve.models import Served, find_model
from picochat.serve.schema import Ask, parse_chat, parse_completion
from picochat.serve.sse import PING, EventStream, JsonResponse, Late, to_events

PAGE = Path(__file__).parent / "static"
PING_SECONDS = 15.0
"""So often does a silent stream say that it is alive."""
Result = TypeVar("Result")
CODES = {404: "not_found", 405: "method_not_allowed"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one server takes upon itself."""

    max_rows: int = 16
    """Answers written at once, per model."""
    max_waiting: int = 64
    """Answers that may wait for that, per model."""
    max_body: int = 1 << 20
    """Bytes of a request's body."""
    body_seconds: float = 10.0
    """For a body to arrive."""
    answer_seconds: float = 300.0
    """From a request to the end of its answer, waiting included."""


class Server:
    """The endpoints, and what they share."""

    def __init__(self, models: dict[str, Served], limits: Limits) -> None:
        self.metrics = Metrics()
        self.batcher = Batcher(
            models, metrics=self.metrics, max_rows=limits.max_rows, max_waiting=limits.max_waiting
        )
        self._models = models
        self._limits = limits
        # Tokenizing a megabyte takes too long for the event loop, and so does writing one as JSON.
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="picochat-json")

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Decode as long as the server runs."""
        self.batcher.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        """End the server's threads."""
        self.batcher.close()
        self._helper.shutdown(cancel_futures=True)

    async def health(self, request: Request) -> Response:
        """`GET /health`."""
        if self.batcher.has_died:
            return JsonResponse({"status": "error"}, status_code=503)
        return JsonResponse({"status": "ok"})

    async def show_metrics(self, request: Request) -> Response:
        """`GET /metrics`."""
        gauges = {
            "picochat_rows_active": ("Answers being written.", self.batcher.num_active),
            "picochat_rows_waiting": ("Answers waiting.", self.batcher.num_waiting),
            "picochat_rows_capacity": ("Answers taken at most, per model.", self.batcher.capacity),
            "picochat_cache_bytes": ("Memory of the key/value caches.", self.batcher.cache_bytes),
            "process_resident_memory_bytes": ("Resident memory.", resident_bytes()),
        }
        return Response(self.metrics.render(gauges), headers={"Content-Type": CONTENT_TYPE})

    async def list_models(self, request: Request) -> Response:
        """`GET /v1/models`."""
        cards = [model.card for model in self._models.values()]
        return JsonResponse({"object": "list", "data": cards})

    async def show_model(self, request: Request) -> Response:
        """`GET /v1/models/NAME`."""
        return JsonResponse(find_model(self._models, request.path_params["name"]).card)

    async def chat(self, request: Request) -> ASGIApp:
        """`POST /v1/chat/completions`."""
        return await self._answer(request, parse_chat, ChatWriter)

    async def complete(self, request: Request) -> ASGIApp:
        """`POST /v1/completions`."""
        return await self._answer(request, parse_completion, CompletionWriter)

    async def _answer(
        self,
        request: Request,
        parse: Callable[[dict[str, Any], dict[str, Served]], Ask],
        writer_class: type[Writer],
    ) -> ASGIApp:
        self.batcher.check_any_room()
        body = await self._read_body(request)

        ask = await self._help(lambda: parse(parse_object(body), self._models))
        writer = writer_class(ask)
        ticket = Ticket(ask.model.name, ask.rows)
        self.batcher.submit(ticket)
        self.metrics.num_prompt_tokens += ask.num_prompt_tokens

        def give_up() -> None:
            self.batcher.cancel(ticket)

        if ask.stream:
            return EventStream(self._pieces(writer, ticket), give_up)
        return Late(lambda: self._whole(writer, ticket), give_up)

    async def _pieces(self, writer: Writer, ticket: Ticket) -> AsyncIterator[bytes]:
        """Yield server-sent events as answers are written."""
        yield to_events(writer.opening())
        try:
            async for news in self._news(ticket):
                yield to_events(chunk for item in news for chunk in writer.chunks(*item)) if news else PING
            yield to_events(writer.closing())
        except ApiError as error:
            yield to_events([error.body])

    async def _whole(self, writer: Writer, ticket: Ticket) -> Response:
        async for news in self._news(ticket):
            for index, event in news:
                writer.read(index, event)
        return await self._help(lambda: JsonResponse(writer.answer))

    async def _help(self, work: Callable[[], Result]) -> Result:
        """Do what takes long beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._helper, work)

    async def _news(self, ticket: Ticket) -> AsyncIterator[list[Any]]:
        """Yield the ticket's events, and measure how long they take."""
        has_begun = False
        async for news in ticket.events(self._limits.answer_seconds, PING_SECONDS):
            if news and not has_begun:
                has_begun = True
                self.metrics.first_token_seconds.observe(perf_counter() - ticket.began)
            yield news
        self.metrics.request_seconds.observe(perf_counter() - ticket.began)

    async def _read_body(self, request: Request) -> bytes:
        """Return the body. Raises ApiError if it is no JSON by its type, too large or too slow."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise _closing(415, "unsupported_media_type", "send the body as Content-Type: application/json")
        too_large = _closing(413, "body_too_large", f"the body has over {self._limits.max_body} bytes")
        length = request.headers.get("content-length", "0")
        # More digits than any length has are not even read as a number.
        if not length.isdecimal() or len(length) > 18 or int(length) > self._limits.max_body:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > self._limits.max_body:
                        raise too_large
        except TimeoutError:
            message = f"the body did not arrive within {self._limits.body_seconds:g} seconds"
            raise _closing(408, "request_timeout", message) from None
        except ClientDisconnect:
            raise _closing(400, "client_gone", "the client has gone away") from None
        return bytes(body)


def _closing(status: int, code: str, message: str) -> ApiError:
    """Return an error after which the rest of the body is not waited for."""
    return ApiError(status, code, message, headers={"Connection": "close"})


async def _tell_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JsonResponse(error.body, status_code=error.status, headers=error.headers)


async def _tell_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, "invalid_request")
    headers = dict(error.headers or {})
    told = ApiError(error.status_code, code, error.detail, headers=headers)
    return JsonResponse(told.body, status_code=told.status, headers=headers)


async def _tell_bug(_: Request, __: Exception) -> Response:
    told = ApiError(500, "internal_error", "the server made a mistake; its log says which")
    return JsonResponse(told.body, status_code=told.status, headers=SECURITY_HEADERS)


class Page(StaticFiles):
    """The page's files; a browser asks each time whether they have changed."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """Return a file, or 304."""
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def create_app(
    models: dict[str, Served],
    limits: Limits | None = None,
    *,
    host: str = "127.0.0.1",
    allowed_hosts: Collection[str] = (),
    api_key: str | None = None,
    page: Path = PAGE,
) -> Starlette:
    """Return the server as an ASGI application; `app.state.server` is its `Server`.

    `host` is what it listens on: the `Host` headers it accepts depend on that.
    """
    server = Server(models, limits or Limits())
    api = [
        Route("/models", server.list_models),
        Route("/models/{name:path}", server.show_model),
        Route("/chat/completions", server.chat, methods=["POST"]),
        Route("/completions", server.complete, methods=["POST"]),
    ]
    app = Starlette(
        routes=[
            Route("/health", server.health),
            Route("/metrics", server.show_metrics),
            Mount("/v1", routes=api),
            Mount("/", Page(directory=page, html=True, check_dir=False)),
        ],
        middleware=[
            Middleware(Guard, metrics=server.metrics, host=host, allowed_hosts=allowed_hosts, api_key=api_key)
        ],
        exception_handlers={
            ApiError: _tell_api_error,
            HTTPException: _tell_http_error,
            Exception: _tell_bug,
        },
        lifespan=server.lifespan,
    )
    app.state.server = server
    return app
