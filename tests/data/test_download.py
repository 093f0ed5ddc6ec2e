"""Fetching public data sets, against a hub served on loopback that speaks what huggingface_hub asks."""

import hashlib
import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from picochat.data import download
from picochat.data.download import fetch
from picochat.data.hub_sets import HUB_SETS
from picochat.data.text import iter_texts
from picochat.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def parquet(rows: list[dict]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


class Hub(ThreadingHTTPServer):
    """A repository per name, at any commit; `large` files have a SHA-256, others a git blob id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.served: dict[str, bytes] = {}  # what is sent in place of a file
        self.break_after: dict[str, int] = {}  # bytes after which the connection is cut, once
        self.small: set[str] = set()
        self.requests: list[tuple[str, str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def entry(self, path: str, content: bytes) -> dict:
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"type": "file", "path": path, "size": len(content), "oid": blob}
        if path not in self.small:
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
        return entry


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.server.requests.append((self.command, path, self.headers.get("Range")))
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/revision/([^/]+)", path):
            return self._json(match[1], {"id": match[1], "sha": match[2] if len(match[2]) == 40 else COMMIT})
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)/?(.*)", path):
            files = self.server.repos.get(match[1], {}).items()
            inside = [(name, data) for name, data in files if name.rpartition("/")[0] == match[3]]
            folders = [{"type": "directory", "path": "sub", "oid": "0" * 40}]
            return self._json(match[1], folders + [self.server.entry(name, data) for name, data in inside])
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(*match.groups())
        return self._error(404, "EntryNotFound")

    def _json(self, repo: str, value: object) -> None:
        if repo not in self.server.repos:
            return self._error(404, "RepoNotFound")
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, repo: str, commit: str, name: str) -> None:
        if name not in self.server.repos.get(repo, {}):
            return self._error(404, "EntryNotFound")
        true = self.server.repos[repo][name]
        body = self.server.served.get(name, true)
        start = (
            int(match[1]) if (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        )
        self.send_response(206 if start else 200)
        entry = self.server.entry(name, true)
        self.send_header("ETag", f'"{entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        cut = self.server.break_after.pop(name, None)
        self.wfile.write(body[start:cut])
        if cut is not None:
            self.close_connection = True
        return None


@pytest.fixture
def hub(monkeypatch, tmp_path):
    from huggingface_hub import close_session, constants
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    close_session()  # the next reads the proxies anew
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    close_session()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def stories(hub):
    shards = {
        f"data/train-0000{n}-of-00003-x.parquet": parquet([{"text": f"story {n}"}] * 2000) for n in range(3)
    }
    shards |= {
        "data/validation-00000-of-00001-x.parquet": parquet([{"text": "held out"}]),
        "README.md": b"hi",
    }
    hub.repos["roneneldan/TinyStories"] = shards
    return shards


def downloads(hub: Hub) -> list[str]:
    return [
        path.rpartition("/")[2] for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path
    ]


def test_raw_text_is_kept_as_it_is_and_its_source_recorded(hub, stories, tmp_path):
    out = tmp_path / "tiny"
    lines: list[str] = []
    fetched = fetch("tinystories", out, max_files=2, endpoint=hub.url, report=lines.append)
    revision = HUB_SETS["tinystories"].revision
    assert fetched.commit == revision
    assert all(f"/resolve/{revision}/" in path for _, path, _ in hub.requests if "/resolve/" in path)
    assert set(iter_texts([out / "train"])) == {"story 0", "story 1"}
    assert list(iter_texts([out / "val"])) == ["held out"]
    assert lines[0].startswith("1/3 data/train-00000-of-00003-x.parquet")
    source = json.loads((out / "SOURCE.json").read_text(encoding="utf-8"))
    assert source["repo"] == "roneneldan/TinyStories"
    assert source["commit"] == revision
    first = source["files"][0]
    assert first["path"] == "train/train-00000-of-00003-x.parquet"
    assert first["sha256"] == hashlib.sha256(stories["data/train-00000-of-00003-x.parquet"]).hexdigest()
    assert sorted(path.name for path in out.iterdir()) == ["SOURCE.json", "train", "val"]


def test_the_second_time_only_what_is_missing_or_changed_is_fetched(hub, stories, tmp_path):
    out = tmp_path / "tiny"
    fetch("tinystories", out, max_files=2, endpoint=hub.url)
    hub.requests.clear()
    fetch("tinystories", out, max_files=2, endpoint=hub.url)
    assert hub.requests == []
    (out / "train" / "train-00001-of-00003-x.parquet").write_bytes(b"spoilt")
    fetch("tinystories", out, max_files=0, endpoint=hub.url)
    assert downloads(hub) == ["train-00001-of-00003-x.parquet", "train-00002-of-00003-x.parquet"]
    assert len(list(iter_texts([out / "train"]))) == 6000


def test_a_branch_is_recorded_as_the_commit_it_is_now(hub, stories, tmp_path):
    assert fetch("tinystories", tmp_path / "tiny", revision="main", endpoint=hub.url).commit == COMMIT
    assert all("/main/" not in path for _, path, _ in hub.requests if "/resolve/" in path)


def test_a_broken_transfer_is_taken_up_where_it_broke(hub, stories, tmp_path, monkeypatch):
    name = "data/train-00000-of-00003-x.parquet"
    hub.break_after[name] = 200
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100)
    fetch("tinystories", tmp_path / "tiny", max_files=1, endpoint=hub.url)
    ranges = [range_ for method, path, range_ in hub.requests if method == "GET" and path.endswith(name)]
    assert ranges == [None, "bytes=200-"]
    assert (tmp_path / "tiny/train/train-00000-of-00003-x.parquet").read_bytes() == stories[name]


@pytest.mark.parametrize("large", [True, False], ids=["sha256", "git blob"])
def test_another_content_than_the_repository_has_is_an_error_and_not_kept(hub, stories, tmp_path, large):
    name = "data/train-00001-of-00003-x.parquet"
    hub.served[name] = stories[name][:-1] + b"?"
    if not large:
        hub.small.add(name)
    out = tmp_path / "tiny"
    with pytest.raises(UserError, match=r"train-00001-of-00003-x\.parquet came with another checksum"):
        fetch("tinystories", out, endpoint=hub.url)
    assert not (out / "SOURCE.json").exists()
    assert [path.name for path in (out / "train").iterdir()] == ["train-00000-of-00003-x.parquet"]
    hub.served.clear()
    hub.requests.clear()
    fetch("tinystories", out, endpoint=hub.url)
    assert "train-00000-of-00003-x.parquet" not in downloads(hub)
    assert len(list(iter_texts([out / "train"]))) == 6000


def test_what_can_not_be_fetched_is_one_line(hub, stories, tmp_path):
    for name, message in [("gsm8k", "openai/gsm8k: can not be fetched"), ("climbmix", "can not be fetched")]:
        with pytest.raises(UserError, match=message) as error:
            fetch(name, tmp_path / name, endpoint=hub.url)
        assert "\n" not in str(error.value)
    hub.repos["openai/gsm8k"] = {"main/train-0.parquet": parquet([{"question": "q", "answer": "a"}])}
    with pytest.raises(UserError, match=r"no file main/test-\*\.parquet"):
        fetch("gsm8k", tmp_path / "gsm8k", endpoint=hub.url)
    with pytest.raises(UserError, match="can not be fetched"):
        fetch("tinystories", tmp_path / "tiny", endpoint="http://127.0.0.1:9")


def test_an_unknown_name_lists_those_there_are(tmp_path):
    with pytest.raises(
        UserError, match="no data set 'tiny' is known; choose one of tinystories, fineweb-edu"
    ):
        fetch("tiny", tmp_path)


ROWS = {
    "gsm8k": ({"question": "1 + 1?", "answer": "#### 2"}, {"question": "1 + 1?", "answer": "#### 2"}),
    "arc": (
        {
            "id": "x",
            "question": "Why?",
            "choices": {"text": ["so", "no"], "label": ["A", "B"]},
            "answerKey": "B",
        },
        {
            "id": "x",
            "question": {
                "stem": "Why?",
                "choices": [{"text": "so", "label": "A"}, {"text": "no", "label": "B"}],
            },
            "answerKey": "B",
        },
    ),
    "mmlu": (
        {"question": "Which?", "subject": "anatomy", "choices": ["a", "b", "c", "d"], "answer": 3},
        {"question": "Which?", "subject": "anatomy", "choices": ["a", "b", "c", "d"], "answer": 3},
    ),
    "smoltalk": (
        {
            "messages": [{"content": "hé", "role": "user"}, {"content": "ho", "role": "assistant"}],
            "source": "s",
        },
        {
            "messages": [{"role": "user", "content": "hé"}, {"role": "assistant", "content": "ho"}],
            "source": "s",
        },
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_converted_to_what_the_readers_read(hub, tmp_path, name):
    known = HUB_SETS[name]
    row, expected = ROWS[name]
    hub.repos[known.repo] = {
        f"{part.folder}/{part.pattern.replace('*', '00000-of-00001')}": parquet([row] * 3)
        for part in known.parts
    }
    out = tmp_path / name
    fetched = fetch(name, out, endpoint=hub.url)
    assert sorted(fetched.files) == sorted(part.to for part in known.parts)
    for part in known.parts:
        lines = (out / part.to).read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == [expected] * 3
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["SOURCE.json", *(part.to for part in known.parts)]
    )


def test_an_interrupted_fetch_keeps_the_files_that_were_complete(hub, tmp_path, monkeypatch):
    row, _ = ROWS["gsm8k"]
    hub.repos["openai/gsm8k"] = {f"main/{split}-0.parquet": parquet([row]) for split in ("train", "test")}
    write_jsonl = download._write_jsonl

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_write_jsonl", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch("gsm8k", tmp_path, endpoint=hub.url)
    monkeypatch.setattr(download, "_write_jsonl", write_jsonl)
    fetch("gsm8k", tmp_path, endpoint=hub.url)
    assert downloads(hub) == ["train-0.parquet", "test-0.parquet"]


def test_pins_are_commits_and_names_are_complete():
    assert list(HUB_SETS) == ["tinystories", "fineweb-edu", "climbmix", "smoltalk", "gsm8k", "arc", "mmlu"]
    for known in HUB_SETS.values():
        assert re.fullmatch("[0-9a-f]{40}", known.revision)
        assert all(part.to.endswith(".jsonl") == (known.convert is not None) for part in known.parts)
