"""`picochat data prepare` and `get` as a user types them."""

import pytest

from picochat.cli import main
from picochat.data.text import iter_texts


def test_prepare_says_what_it_wrote(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("one<|x|>two\n\nstill two<|x|>", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"body": "three"}\nbad\n', encoding="utf-8")
    out = tmp_path / "new" / "out.parquet"
    options = ["--out", str(out), "--split", "<|x|>", "--column", "body", "--on-bad-row", "skip"]
    main(["data", "prepare", str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl"), *options])
    assert list(iter_texts([out])) == ["one", "two\n\nstill two", "three"]
    captured = capsys.readouterr()
    assert captured.out.startswith(f"wrote {out}: 3 documents, ")
    assert "warning: 1 bad row left out; the first: " in captured.err
    assert "b.jsonl:2: not valid JSON" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "gone.txt", "--out", "x.parquet"], "gone.txt: no such file or folder"),
        (["prepare", "--out", "x.parquet"], "no file given"),
        (["get", "tiny"], "no data set 'tiny' is known; choose one of tinystories,"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["data", *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
