"""Who may ask: other sites, hosts, origins and those without the key may not; the page's own files only."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from picochat.serve.models import Served
from tests.serve.conftest import HELLO, client_of
from tests.serve.driving import CHAT, check_error


@pytest.fixture(scope="module")
def client(tiny_models: dict[str, Served]) -> Iterator[TestClient]:
    with client_of(tiny_models) as client:
        yield client


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"]
)
def test_a_form_of_another_site_can_not_ask(client: TestClient, media_type: str):
    """A page may send these types anywhere without asking first."""
    body = json.dumps({"messages": HELLO}).encode()
    response = client.post(CHAT, content=body, headers={"Content-Type": media_type})
    check_error(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8000", True),
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("[::1]:8000", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.5", False),
        ("", False),
        ("[::1", True),
        ("@localhost", False),
    ],
)
def test_foreign_hosts_are_refused(client: TestClient, host: str, is_allowed: bool):
    for path in ("/health", "/v1/models", "/"):
        response = client.get(path, headers={"Host": host})
        if is_allowed:
            assert response.status_code != 400
        else:
            check_error(response, 400, "invalid_host")


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("http://127.0.0.1", True),
        ("http://evil.example", False),
        ("http://127.0.0.1:3000", False),
        ("http://localhost", False),
        ("null", False),
        ("file://", False),
    ],
)
def test_foreign_origins_are_refused(client: TestClient, origin: str, is_allowed: bool):
    response = client.post(CHAT, json={"messages": HELLO, "max_tokens": 1}, headers={"Origin": origin})
    if is_allowed:
        assert response.status_code == 200
    else:
        check_error(response, 403, "invalid_origin")
    assert "access-control-allow-origin" not in response.headers


def test_no_preflight_is_granted(client: TestClient):
    ours = {"Origin": "http://127.0.0.1", "Access-Control-Request-Method": "POST"}
    response = client.options(CHAT, headers=ours)
    check_error(response, 405, "method_not_allowed")
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_hosts_of_a_server_for_others(tiny_models: dict[str, Served]):
    options = {"host": "0.0.0.0", "allowed_hosts": ["pico.example"], "api_key": "k"}
    with client_of(tiny_models, **options) as client:
        for host in ("192.168.1.5:8000", "[fe80::1]", "pico.example", "localhost"):
            assert client.get("/health", headers={"Host": host}).status_code == 200
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 400


OPEN = {"/health", "/"}
"""What answers without the key: whether the server is well, and the page's files, which hold no secret."""


def endpoints(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield a method and a path of everything that an app answers."""
    for route in routes:
        path = prefix + route.path
        if isinstance(route, Mount) and route.routes:
            yield from endpoints(route.routes, path)
        elif isinstance(route, Mount):
            yield "GET", path or "/"
        else:
            name = path.replace("{name:path}", "tiny")
            assert "{" not in name, f"{path}: say here what it may stand for"
            yield from ((method, name) for method in sorted(route.methods - {"HEAD"}))


def open_paths(client: Any) -> set[str]:
    """Return the paths that do not ask for the key."""
    asked = list(endpoints(client.app.routes))
    assert len(asked) >= 7
    return {path for method, path in asked if client.request(method, path).status_code != 401}


def test_a_route_is_open_only_by_design(tiny_models: dict[str, Served]):
    with client_of(tiny_models, api_key="the key") as client:
        assert open_paths(client) == OPEN
        app: Any = client.app
        app.router.routes.insert(0, Route("/new", lambda _: Response("open by mistake")))
        assert open_paths(client) == {*OPEN, "/new"}


def test_the_key_is_wanted_on_every_route_of_the_api(tiny_models: dict[str, Served], tmp_path: Path):
    (tmp_path / "index.html").write_text("<title>page</title>")
    with client_of(tiny_models, api_key="the key", page=tmp_path) as client:
        app: Any = client.app
        closed = [(method, path) for method, path in endpoints(app.routes) if path not in OPEN]
        for method, path in [*closed, ("GET", "/v1/nothing")]:
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": "Bearer "},
                {"Authorization": "Basic the key"},
                {"Authorization": "Bearer the key2"},
                {"Authorization": b"Bearer \xff\xfe"},
            ):
                check_error(client.request(method, path, headers=headers), 401, "invalid_api_key")
        ours = {"Authorization": "Bearer the key"}
        assert client.get("/v1/models", headers=ours).status_code == 200
        assert client.get("/metrics", headers=ours).status_code == 200
        body = {"messages": HELLO, "max_tokens": 1}
        assert client.post(CHAT, json=body, headers=ours).status_code == 200
        assert client.get("/health").json() == {"status": "ok"}
        assert "page" in client.get("/").text


def test_the_page_and_its_headers(tiny_models: dict[str, Served], tmp_path: Path):
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<title>page</title>")
    (tmp_path / "secret.txt").write_text("secret")
    (page / "link.txt").symlink_to(tmp_path / "secret.txt")
    with client_of(tiny_models, page=page) as client:
        response = client.get("/")
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "unsafe" not in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-cache"
        again = client.get("/", headers={"If-None-Match": response.headers["etag"]})
        assert again.status_code == 304
        for path in (
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/link.txt",
            "//etc/passwd",
            "/%00",
        ):
            found = client.get(path)
            assert found.status_code in (404, 405), path
            assert "secret" not in found.text
        check_error(client.post("/", content=b""), 405, "method_not_allowed")
        check_error(client.get("/nothing"), 404, "not_found")
