"""MMLU: four-choice questions of 57 subjects (arXiv 2009.03300).

Official CSV: question, A, B, C, D, answer letter; quoted, no header, a file per subject (`anatomy_test.csv`).
Hugging Face rows: {"question", "subject", "choices": [4 texts], "answer": 0 to 3}  (JSON Lines or Parquet).
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from picochat.data.bad_rows import BadRows
from picochat.errors import UserError
from picochat.tasks.multiple_choice import LETTERS, MultipleChoice, choice_problem
from picochat.tasks.rows import iter_rows
from picochat.tasks.task import Problem, field, row_id, text_field

COLUMNS = ("question", "A", "B", "C", "D", "answer")
NUM_CHOICES = 4


class Mmlu(MultipleChoice):
    name = "mmlu"

    def rows(self, path: Path, bad_rows: BadRows) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield the rows of a file, or of all CSV files of a folder (`test/`) as one."""
        if not path.is_dir():
            files = [path]
        elif not (files := sorted(path.glob("*.csv"))):
            inner = sorted(folder.name for folder in path.iterdir() if folder.is_dir())
            hint = f"; name one of its folders: {', '.join(inner)}" if inner else ""
            raise UserError(f"{path}: no .csv file in this folder{hint}")
        for file in files:
            yield from _iter_csv(file, bad_rows) if file.suffix == ".csv" else iter_rows(file, bad_rows)

    def parse(self, row: dict[str, Any], *, where: str) -> Problem:
        choices, key = field(row, "choices", where=where), field(row, "answer", where=where)
        if not isinstance(choices, list) or len(choices) != NUM_CHOICES:
            raise UserError(f"{where}: field 'choices' has to be a list of {NUM_CHOICES} texts")
        if type(key) is not int or not 0 <= key < NUM_CHOICES:
            raise UserError(f"{where}: the answer is {key!r}; it has to be a letter A to D (0 to 3 in JSON)")
        return choice_problem(
            id=row_id(row, where),
            task=self.name,
            stem=text_field(row, "question", where=where),
            choices=choices,
            right=key,
            level=str(row.get("subject") or ""),
            where=where,
        )


def _iter_csv(path: Path, bad_rows: BadRows) -> Iterator[tuple[dict[str, Any], str]]:
    subject = re.sub(r"_(dev|val|test|train)$", "", path.stem)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            line = 1
            for cells in reader:
                where, line = f"{path}:{line}", reader.line_num + 1
                if not cells:
                    continue
                if len(cells) != len(COLUMNS):
                    bad_rows.add(f"{where}: {len(cells)} columns; there have to be 6: {', '.join(COLUMNS)}")
                    continue
                letter = cells[-1].strip()
                key = LETTERS.index(letter) if letter and letter in LETTERS else letter
                yield {"question": cells[0], "choices": cells[1:-1], "answer": key, "subject": subject}, where
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can not be read as CSV in UTF-8 ({error})") from error
