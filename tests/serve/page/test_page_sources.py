"""The page's files keep the rules that its Content-Security-Policy and its safety rest on."""

import re
from pathlib import Path

import pytest

from picochat.serve.app import PAGE

SOURCES = sorted(path for path in PAGE.rglob("*") if path.is_file())
TO_HTML = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|srcdoc"
TO_CODE = r"\beval\(|new Function|setTimeout\(\s*[\"'`]|javascript:"
OUTSIDE = r"https?://(?!www\.w3\.org/2000/svg)|[\"'(]//\w|@import|WebSocket|sendBeacon|importScripts"


def found(pattern: str, *endings: str) -> list[str]:
    return [
        f"{path.name}: {match[0]}"
        for path in SOURCES
        if path.suffix in endings
        for match in re.finditer(pattern, path.read_text(encoding="utf-8"))
    ]


def test_there_is_a_page():
    assert {path.suffix for path in SOURCES} == {".html", ".css", ".js", ".svg"}
    assert sum(path.stat().st_size for path in SOURCES) < 200_000


@pytest.mark.parametrize("pattern", [TO_HTML, TO_CODE, OUTSIDE])
def test_text_becomes_neither_html_nor_code_and_nothing_is_fetched_from_elsewhere(pattern: str):
    assert found(pattern, ".js", ".html", ".css") == []


def test_the_patterns_find_what_they_are_for():
    bad = {TO_HTML: "e.innerHTML = t", TO_CODE: "eval(t)", OUTSIDE: '<script src="https://cdn.example/x.js">'}
    assert all(re.search(pattern, text) for pattern, text in bad.items())


def test_no_script_or_style_stands_in_the_html():
    assert found(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", ".html") == []


def test_every_file_is_short():
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_the_files_are_in_the_package():
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"picochat.serve" = ["static/**/*"]' in text
