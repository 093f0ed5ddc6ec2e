"""What every request passes first: Host, Origin and key are checked. Answers get security headers, and are
logged and counted, by route: neither texts nor addresses of clients are."""

import hashlib
import hmac
import ipaddress
import logging
import sys
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from picochat.serve.errors import ApiError
from picochat.serve.metrics import Metrics
from picochat.serve.sse import JsonResponse

log = logging.getLogger("picochat.serve")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
ROUTES = ("/health", "/metrics", "/v1/models", "/v1/chat/completions", "/v1/completions")


class Guard:
    """ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        host: str,
        allowed_hosts: Collection[str] = (),
        api_key: str | None = None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._names = {"localhost", host.lower(), *(name.lower() for name in allowed_hosts)}
        self._is_local = is_loopback(host)
        self._key_hash = None if api_key is None else _hash(api_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it (ASGI)."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, route = time.perf_counter(), 0, route_of(scope["path"])

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            await self._pass_on(scope, receive, send_guarded)
        finally:
            if isinstance(sys.exception(), Exception):
                status = 500  # so it is told by whom it is passed on to
            seconds = time.perf_counter() - began
            self._metrics.requests[route, status] += 1
            log.info("%s %s %s %.3fs", scope["method"], route, status or "gone", seconds)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except ApiError as error:
            response = JsonResponse(error.body, status_code=error.status, headers=error.headers)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if not self._is_allowed(host_name(host)):
            raise ApiError(400, "invalid_host", "the Host header does not name this server")
        origins = headers.getlist("origin")
        if any(origin.lower() not in (f"http://{host}", f"https://{host}") for origin in origins):
            raise ApiError(403, "invalid_origin", "only the server's own page may ask")
        if self._key_hash is not None and needs_key(scope["path"]):
            scheme, _, key = headers.get("authorization", "").partition(" ")
            is_right = hmac.compare_digest(_hash(key.strip()), self._key_hash)
            if scheme.lower() != "bearer" or not is_right:
                raise ApiError(
                    401,
                    "invalid_api_key",
                    "give the server's key as `Authorization: Bearer KEY`",
                    headers={"WWW-Authenticate": "Bearer"},
                )

    def _is_allowed(self, name: str) -> bool:
        """Whether a Host header may name us so.

        A page of another site that has its own name point to this machine (DNS rebinding) sends that name, so
        an address is harmless.
        """
        if name in self._names:
            return True
        address = _address(name)
        return address is not None and (address.is_loopback or not self._is_local)


def needs_key(path: str) -> bool:
    """Whether a path is the API's, not the page's."""
    return path == "/metrics" or path == "/v1" or path.startswith("/v1/")


def route_of(path: str) -> str:
    """Return the route a path belongs to: one of few names, whatever a client asks for."""
    if path in ROUTES:
        return path
    return "/v1/*" if path.startswith("/v1/") else "page"


def host_name(host: str) -> str:
    """Return a Host header without its port, and an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether a server on `host` is reached from this machine only."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _hash(key: str) -> bytes:
    # Of equal length, so that comparing tells nothing of it either.
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
