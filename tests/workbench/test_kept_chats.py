"""Chats that are kept, by keys: found, renamed, exported, deleted, long ones, and folders that take none."""

import json
import os
from pathlib import Path

import pytest
from textual.widgets import Input, OptionList

from tests.workbench.driving import ask, chat, loaded, run, shown, token, told, wait
from workbench.conversations import ROOT, Answer, Conversation, Question
from workbench.screens.dialogs import Ask, Choose, Confirm
from workbench.store import Store, append_rows, head_row, node_rows
from workbench.tokens import TokenList
from workbench.widgets.transcript import MOST, SHOWN, STEP, Earlier


def test_conversations_are_kept_found_renamed_exported_and_deleted(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "about whales")
        first = screen.conversation
        await pilot.press("ctrl+n")
        await ask(pilot, "about ants")
        await pilot.press("ctrl+o")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await wait(pilot, lambda: pilot.app.screen.query_one(OptionList).option_count == 2)
        await pilot.press(*"whale")
        await wait(pilot, lambda: pilot.app.screen.query_one(OptionList).option_count == 1)
        await pilot.press("enter")
        await wait(pilot, lambda: pilot.app.screen is screen and screen.conversation.id == first.id)
        assert told(screen) == ["about whales", " echo about whales"]
        await pilot.press("f9")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await pilot.press("ctrl+u", *"chat.jsonl", "enter")
        await wait(pilot, Path("chat.jsonl").exists)
        # As in a shell, this is the home of nobody.
        await pilot.press("f9")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await pilot.press("ctrl+u", *"~nobody.at.all/chat.md", "enter")
        await wait(pilot, lambda: "~nobody.at.all/chat.md: No such file" in shown(pilot))
        await pilot.press("alt+e")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await pilot.press("ctrl+u", *"~nobody.at.all/pairs.jsonl", "enter")
        await wait(pilot, lambda: "there are no pairs yet" in shown(pilot))
        await pilot.press("alt+r")
        await wait(pilot, lambda: pilot.app.screen.query(Input))
        await pilot.press("ctrl+u", *"Big", "enter")
        await wait(pilot, lambda: "Big" in shown(pilot))
        assert screen.store.find("big")[0].name == "Big"
        await pilot.press("f12")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await wait(pilot, lambda: not screen.store.path(first.id).exists())
        assert "A new conversation" in shown(pilot)

    run(tmp_path, script)
    row = json.loads((tmp_path / "chat.jsonl").read_text(encoding="utf-8"))
    assert [message["content"] for message in row["messages"]] == ["about whales", " echo about whales"]


def test_conversations_are_deleted_in_the_list(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "one")
        id = screen.conversation.id
        await pilot.press("ctrl+n", "ctrl+o")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Choose) and "one" in shown(pilot))
        await pilot.press("ctrl+d")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await wait(pilot, lambda: not screen.store.path(id).exists())
        await wait(pilot, lambda: "no conversation holds" in shown(pilot))

    run(tmp_path, script)


def test_preferences_are_exported_by_key(tmp_path):
    async def script(pilot):
        await ask(pilot, "one")
        await pilot.press("alt+up", "plus", "r")
        screen = chat(pilot)
        await wait(pilot, lambda: len(screen.conversation.nodes) == 3 and screen.writing is None)
        await pilot.press("alt+up", "minus", "alt+e")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await pilot.press("enter")
        await wait(pilot, lambda: "1 pair in preferences.jsonl" in shown(pilot))

    run(tmp_path, script)
    assert len((tmp_path / "preferences.jsonl").read_text().splitlines()) == 1


def long_conversation(folder: Path, count: int) -> Conversation:
    """Write a conversation of `count` messages."""
    talk = Conversation(title="long")
    parent = ROOT
    for i in range(count // 2):
        question = Question(parent=parent, text=f"question {i}")
        answer = Answer(
            parent=question.id, tokens=TokenList([token(f"answer {i}")]), reason="stop", model="m"
        )
        talk.add(question)
        talk.add(answer)
        parent = answer.id
    folder.mkdir(parents=True, exist_ok=True)
    append_rows(
        Store(folder).path(talk.id), [head_row(talk), *(row for n in talk.path() for row in node_rows(n))]
    )
    return talk


def test_of_a_long_conversation_only_the_end_is_mounted(tmp_path):
    long_conversation(tmp_path / "chats", 200)

    async def script(pilot):
        screen = await loaded(pilot)
        await pilot.press("ctrl+o")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Choose) and "200 messages" in shown(pilot))
        await pilot.press("enter")
        await wait(pilot, lambda: pilot.app.screen is screen and len(screen.conversation.nodes) == 200)
        await wait(pilot, lambda: "answer 99" in shown(pilot))
        assert len(screen.transcript.answers) == SHOWN // 2
        earlier = screen.query_one(Earlier)
        assert f"{200 - SHOWN} earlier messages" in str(earlier.content)
        earlier.focus()
        await pilot.press("enter")
        await wait(pilot, lambda: len(screen.transcript.answers) == (SHOWN + STEP) // 2)
        for i in range((MOST - SHOWN - STEP) // 2 + 1):
            await ask(pilot, f"more {i}")
        assert len(screen.transcript.answers) <= MOST // 2
        assert len(screen.conversation.path()) > 200
        assert f"more {i}" in shown(pilot)

    run(tmp_path, script)


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written_is_told(tmp_path):
    (tmp_path / "chats").mkdir()
    (tmp_path / "chats").chmod(0o500)

    async def script(pilot):
        await ask(pilot, "one")
        assert "not saved" in shown(pilot)

    run(tmp_path, script)


def test_a_folder_that_is_a_file_is_told_and_the_chat_goes_on(tmp_path):
    (tmp_path / "chats").write_text("")

    async def script(pilot):
        screen = await ask(pilot, "one")
        assert "not saved" in shown(pilot)
        assert told(screen) == ["one", " echo one"]

    run(tmp_path, script)
