"""The tokenizer notebook in a browser: every control is used, and the page follows."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from picochat.tokenizer.tokenizer import Tokenizer
from tests.notebooks.browser import NotThereError

if TYPE_CHECKING:
    from tests.notebooks.browser import Notebook, OpenNotebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

TEXT = "the cat sat on the mat, and the hat is that of the cat\n\nthe dog sat on the log in the fog\n\n" * 3


def says(notebook: "Notebook", text: str, seconds: float = 180) -> None:
    """Wait until the page says something."""
    notebook.page.get_by_text(text).first.wait_for(timeout=1000 * seconds)


def views(notebook: "Notebook") -> list[list[str]]:
    """Return the tokens of each view of tokens on the page, from the top."""
    return notebook.page.locator("div.pc-tokens").evaluate_all(
        "views => views.map(view => [...view.querySelectorAll('.pc-token')].map(box => box.innerText))"
    )


def boxes(notebook: "Notebook", view: int = 0) -> list[str]:
    """Return the tokens of one view of tokens, counted from the top, or from the end if negative."""
    found = views(notebook)
    if not -len(found) <= view < len(found):
        raise NotThereError(f"the page has {len(found)} views of tokens")
    return found[view]


@pytest.fixture
def notebook(open_notebook: "OpenNotebook", tmp_path: Path) -> "Notebook":
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    notebook = open_notebook("tokenizer", "--data", "text.txt", "--vocab-size", "300")
    notebook.page.get_by_text("merges learned").wait_for(timeout=180_000)
    notebook.until(lambda: len(notebook.figures()) >= 4, "the figures")
    return notebook


def test_every_control(notebook: "Notebook", tmp_path: Path):
    the_vocabulary_slider(notebook)
    my_own_text(notebook)
    merge_by_merge(notebook)
    a_token_taken_apart(notebook)
    two_side_by_side(notebook, tmp_path)
    what_looks_like_a_control_token_stays_text(notebook)


def the_vocabulary_slider(notebook: "Notebook") -> None:
    """Fewer ids, more tokens; at the left end a token for every byte."""
    page = notebook.page
    notebook.until(lambda: len(views(notebook)) > 8, "the token views")
    many = len(boxes(notebook))
    size = notebook.slider("ids in the vocabulary")
    size.press("Home")
    text = page.locator("textarea").first.input_value()
    notebook.until(lambda: len(boxes(notebook)) == len(text.encode()), "a token for every byte")
    notebook.until(
        lambda: notebook.curve("bytes per token", "272 ids")[0] == [272, 272], "the size marked in the figure"
    )
    size.press("End")
    notebook.until(lambda: len(boxes(notebook)) == many, "the large vocabulary again")


def my_own_text(notebook: "Notebook") -> None:
    """With the ids."""
    page = notebook.page
    page.locator("textarea").first.fill("the cat\nthat é")
    notebook.until(
        lambda: (shown := boxes(notebook)) and "·cat" in "".join(shown) and shown[-1] == "a9", "my text"
    )
    page.get_by_text("show the ids").click()
    notebook.until(lambda: any("\n" in box for box in boxes(notebook)), "ids below the tokens")
    tip = page.locator(".pc-token").first.get_attribute("data-tip")
    assert tip is not None
    assert tip.startswith("id ")
    assert "bytes " in tip


def merge_by_merge(notebook: "Notebook") -> None:
    """Bytes first, then the pair that comes next is ringed, at last the finished tokens."""
    page = notebook.page
    made = notebook.slider("merges made")
    made.press("Home")
    num_bytes = len("the cat\nthat é".encode())
    notebook.until(lambda: len(boxes(notebook, 1)) == num_bytes, "bytes")
    rings = page.locator("div.pc-tokens").nth(1).locator(".ring")
    notebook.until(lambda: rings.count() >= 2, "a pair is ringed")
    made.press("ArrowRight")
    notebook.until(lambda: len(boxes(notebook, 1)) < num_bytes, "one merge")
    made.press("End")
    says(notebook, "No merge is left")
    notebook.until(lambda: not rings.count(), "no pair is ringed")


def a_token_taken_apart(notebook: "Notebook") -> None:
    page = notebook.page

    def shown() -> list[str]:
        return [figure["title"] for figure in notebook.figures() if "made of" in figure["title"]]

    (before,) = notebook.until(shown, "a token taken apart")
    page.locator("marimo-table").get_by_role("checkbox").nth(0).click()
    notebook.until(lambda: (titles := shown()) and titles != [before], "another token taken apart")


def two_side_by_side(notebook: "Notebook", folder: Path) -> None:
    """The same vocabulary differs nowhere; a saved one is found by its folder."""
    page = notebook.page
    rival = page.locator("marimo-slider", has_text="ids").last.get_by_role("slider")
    rival.press("End")
    notebook.until(lambda: page.locator(".ring").count() == 0, "no difference from itself")
    rival.press("Home")
    notebook.until(lambda: page.locator(".ring").count() > 4, "rings where they differ")
    Tokenizer.from_merges([], 272).save(folder)
    page.locator("select", has_text="a saved tokenizer").select_option("a saved tokenizer")
    says(notebook, "Name a folder")
    path = page.get_by_placeholder("a folder, a tokenizer.json or a run")
    path.fill("nowhere")
    path.press("Enter")
    says(notebook, "no run called 'nowhere'")
    path.fill(str(folder))
    path.press("Enter")
    says(notebook, "the other, 272 ids")


def what_looks_like_a_control_token_stays_text(notebook: "Notebook") -> None:
    page = notebook.page
    trick = page.locator('marimo-text[data-initial-value*="user_end"] input')
    trick.fill("<|bos|>" * 3)
    says(notebook, "0 of them special")
    turn = ["<|bos|>", "<|user_start|>", "<|user_end|>", "<|assistant_start|>", "<|assistant_end|>"]
    notebook.until_equal(
        lambda: [[box for box in boxes(notebook, view) if len(box) > 5] for view in (-2, -1)],
        [[], turn],
        "the text alone, and within a turn",
    )


def test_learn_again_and_save(notebook: "Notebook", tmp_path: Path):
    page = notebook.page
    (tmp_path / "other.txt").write_text("zum Zoo, zum Zoo, zum Zoo zum", encoding="utf-8")
    page.get_by_placeholder("the built-in world").fill("nowhere.txt")
    notebook.press("Learn again")
    says(notebook, "no such file or folder")
    page.get_by_placeholder("the built-in world").fill("other.txt")
    notebook.press("Learn again")
    page.get_by_text("29", exact=True).first.wait_for(timeout=180_000)  # characters read
    says(notebook, "Not saved yet")
    folder = page.locator("marimo-text", has_text="folder").last.locator("input")
    folder.fill("mine/tok")
    folder.press("Enter")
    notebook.press("Save the tokenizer")
    says(notebook, "picochat pretrain --tokenizer mine/tok --data other.txt")
    says(notebook, "just app pretrain -- --tokenizer mine/tok --data other.txt")
    saved = Tokenizer.load(tmp_path / "mine/tok")
    assert saved.token_bytes(saved.encode(" Zoo")[0]) == b" Zoo"
