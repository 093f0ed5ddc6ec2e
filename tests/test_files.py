"""Files that are replaced whole."""

import errno
import os

import pytest

from picochat.files import write_whole


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_text_is_written_and_replaced(tmp_path, is_durable):
    path = tmp_path / "a.json"
    for text in ("first\nline\n", "seçond"):
        write_whole(path, text, is_durable=is_durable)
        assert path.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_what_fails_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, failing):
    path = tmp_path / "a.json"
    path.write_text("old", encoding="utf-8")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(OSError, match=r"a\.json"):
            write_whole(path, "new", is_durable=True)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_gone_is_not_made_anew(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "a.json", "text")
    assert not (tmp_path / "gone").exists()
