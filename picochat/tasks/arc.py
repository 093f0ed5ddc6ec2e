"""ARC: grade-school science questions with 3 to 5 choices (arXiv 1803.05457), in three layouts.

Official    {"question": {"stem", "choices": [{"text", "label"}, ...]}, "answerKey"}
Hugging Face  {"question", "choices": {"text": [...], "label": [...]}, "answerKey"}   (JSON Lines or Parquet)
Rust        {"question", "choices": [text, ...], "answer_key"}
Labels may be letters or digits; problems always show letters.
"""

from typing import Any

from picochat.errors import UserError
from picochat.tasks.multiple_choice import LETTERS, MultipleChoice, choice_problem
from picochat.tasks.task import Problem, field, row_id, row_level, text_field


class Arc(MultipleChoice):
    name = "arc"

    def parse(self, row: dict[str, Any], *, where: str) -> Problem:
        question = field(row, "question", where=where)
        holder = question if isinstance(question, dict) else row
        stem = text_field(holder, "stem" if isinstance(question, dict) else "question", where=where)
        labels, texts = _labels_and_texts(field(holder, "choices", where=where), where=where)
        key_name = "answer_key" if "answer_key" in row else "answerKey"
        key = text_field(row, key_name, where=where).strip()
        if key not in labels:
            raise UserError(f"{where}: field {key_name!r} is {key!r}; the choices are {', '.join(labels)}")
        return choice_problem(
            id=row_id(row, where),
            task=self.name,
            stem=stem,
            choices=texts,
            right=labels.index(key),
            level=row_level(row),
            where=where,
        )


def _labels_and_texts(choices: object, *, where: str) -> tuple[list[str], list[object]]:
    if isinstance(choices, dict):
        texts, labels = field(choices, "text", where=where), field(choices, "label", where=where)
    elif isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices):
        texts = [field(choice, "text", where=where) for choice in choices]
        labels = [field(choice, "label", where=where) for choice in choices]
    else:
        texts, labels = choices, list(LETTERS)
        labels = labels[: len(texts)] if isinstance(texts, list) else labels
    if not isinstance(texts, list) or not isinstance(labels, list) or len(texts) != len(labels):
        raise UserError(f"{where}: field 'choices' has to be a list of texts, or of texts with their labels")
    return [str(label) for label in labels], texts
