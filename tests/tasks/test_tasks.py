"""Loading, showing and judging the problems of each task."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from picochat.data.bad_rows import BadRows
from picochat.errors import UserError
from picochat.tasks.gsm8k import Gsm8k
from picochat.tasks.registry import LABELS, TASKS
from picochat.tasks.task import Problem, with_examples
from picochat.tokenizer.conversation import Part

CLIPS = {
    "question": "Natalia sold clips to 48 friends, then half as many. How many in all?",
    "answer": "She sold 48/2 = <<48/2=24>>24 clips.\nIn all 48+24 = <<48+24=72>>72.\n#### 72",
}
FEVER = {
    "id": "Mercury_7",
    "question": {
        "stem": "What causes a fever?",
        "choices": [{"text": f"cause {i}", "label": label} for i, label in enumerate("ABCD")],
    },
    "answerKey": "C",
}
HOW_MANY = {"prompt": "How often is a in banana?", "expected_answer": 3, "requires_tool": True}
CAT = {"question": "Who has a red hat?", "answer": "Mia the Cat"}


def write_jsonl(path: Path, *rows: object) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def load(task: str, folder: Path, *rows: object) -> list[Problem]:
    return TASKS[task].load(write_jsonl(folder / "rows.jsonl", *rows))


def test_registry_names_are_the_tasks_names():
    assert list(TASKS) == ["gsm8k", "arc", "mmlu", "tools", "qa"]
    assert all(task.name == name for name, task in TASKS.items())


def test_gsm8k_notes_become_calls_of_the_calculator(tmp_path: Path):
    problem = load("gsm8k", tmp_path, CLIPS)[0]
    assert problem.answer == "72"
    assert problem.id == "rows.jsonl:1"
    assert problem.question == CLIPS["question"]
    assert [(part.type, part.text) for part in problem.solution.parts] == [
        ("text", "She sold 48/2 = "),
        ("tool_call", "48/2"),
        ("tool_result", "24"),
        ("text", "24 clips.\nIn all 48+24 = "),
        ("tool_call", "48+24"),
        ("tool_result", "72"),
        ("text", "72.\n#### 72"),
    ]


def test_gsm8k_notes_the_calculator_can_not_work_out_are_left_out(tmp_path: Path):
    row = {"question": "q", "answer": "a <<20%*50=10>>10 and <<2*.5=1.0>>1\n#### 1,000"}
    problem = load("gsm8k", tmp_path, row)[0]
    assert problem.answer == "1000"
    assert [(part.type, part.text) for part in problem.solution.parts] == [
        ("text", "a 10 and "),
        ("tool_call", "2*.5"),
        ("tool_result", "1"),
        ("text", "1\n#### 1,000"),
    ]


def test_gsm8k_judges_the_marked_number_strictly_or_the_last_one(tmp_path: Path):
    problem = load("gsm8k", tmp_path, CLIPS)[0]
    strict, lenient = TASKS["gsm8k"], Gsm8k(lenient=True)
    for text in ("#### 72", "#### $72.0.", "so\n####72\n\nQ: 5", problem.solution.text):
        assert strict.is_correct(problem, text)
        assert lenient.is_correct(problem, text)
    for text in ("The answer is 72.", "24 and then 72"):
        assert not strict.is_correct(problem, text)
        assert lenient.is_correct(problem, text)
    for text in ("#### 73", "72 #### 7", "", "<|think_start|>#### 72<|think_end|>", "#### 144/2"):
        assert not strict.is_correct(problem, text)
        assert not lenient.is_correct(problem, text)


ARC_ROWS = [
    FEVER,
    {
        "id": "Mercury_7",
        "question": "What causes a fever?",
        "choices": {"text": [f"cause {i}" for i in range(4)], "label": list("1234")},
        "answerKey": "3",
    },
    {
        "id": "Mercury_7",
        "question": "What causes a fever?",
        "choices": [f"cause {i}" for i in range(4)],
        "answer_key": "C",
    },
]


@pytest.mark.parametrize("row", ARC_ROWS, ids=("official", "huggingface", "rust"))
def test_arc_reads_each_layout_as_the_same_problem(tmp_path: Path, row: dict):
    problem = load("arc", tmp_path, row)[0]
    assert problem == load("arc", tmp_path, FEVER)[0]
    assert problem.id == "Mercury_7"
    assert problem.question == "What causes a fever?\nA. cause 0\nB. cause 1\nC. cause 2\nD. cause 3"
    assert problem.solution.text == "The answer is C."
    assert problem.answer == "C"
    assert problem.choices == ("cause 0", "cause 1", "cause 2", "cause 3")


def test_arc_reads_parquet(tmp_path: Path):
    path = tmp_path / "test-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist([ARC_ROWS[1]]), path)
    assert TASKS["arc"].load(path) == load("arc", tmp_path, FEVER)


@pytest.mark.parametrize("num_choices", [3, 4, 5])
def test_arc_shows_three_to_five_choices(tmp_path: Path, num_choices: int):
    texts = [f"cause {i}" for i in range(num_choices)]
    problem = load(
        "arc", tmp_path, {"question": "q", "choices": texts, "answer_key": "ABCDE"[num_choices - 1]}
    )[0]
    assert problem.question.count("\n") == num_choices
    assert TASKS["arc"].is_correct(problem, f"The answer is {'ABCDE'[num_choices - 1]}.")
    outside = "ABCDEF"[num_choices]
    assert TASKS["arc"].extract(problem, f"The answer is {outside}.") is None


def write_csv(path: Path, *rows: list[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_mmlu_reads_quoted_csv_and_takes_the_subject_from_the_name(tmp_path: Path):
    path = write_csv(
        tmp_path / "high_school_us_history_test.csv",
        ['Commas, "quotes"\nand lines', "True, True", "b", "c", "d", "D"],
        ["second", "0", "1", "2", "3", "A"],
    )
    first, second = TASKS["mmlu"].load(path)
    assert first.question == 'Commas, "quotes"\nand lines\nA. True, True\nB. b\nC. c\nD. d'
    assert (first.answer, first.level) == ("D", "high_school_us_history")
    assert second.id == "high_school_us_history_test.csv:3"


def test_mmlu_reads_a_folder_and_hugging_face_rows(tmp_path: Path):
    folder = tmp_path / "val"
    folder.mkdir()
    for subject in ("b", "a"):
        write_csv(folder / f"{subject}_val.csv", ["q", "w", "x", "y", "z", "B"])
    assert [problem.level for problem in TASKS["mmlu"].load(folder)] == ["a", "b"]
    with pytest.raises(UserError, match="name one of its folders: val"):
        TASKS["mmlu"].load(tmp_path)
    row = {"question": "q", "subject": "a", "choices": ["w", "x", "y", "z"], "answer": 1}
    problem = load("mmlu", tmp_path, row)[0]
    assert (problem.question, problem.answer, problem.level) == ("q\nA. w\nB. x\nC. y\nD. z", "B", "a")


def test_tools_compare_numbers_as_numbers_and_texts_letter_by_letter(tmp_path: Path):
    rows = [
        HOW_MANY,
        {"prompt": "banana in capitals?", "expected_answer": "BANANA"},
        {"prompt": "more?", "expected_answer": True, "requires_tool": False, "level": "compare"},
        {"prompt": "price?", "expected_answer": "$1,800"},
        {"prompt": "half?", "expected_answer": 0.5},
    ]
    number, text, truth, price, half = load("tools", tmp_path, *rows)
    tools = TASKS["tools"]
    assert [problem.answer for problem in (number, text, truth, price, half)] == [
        "3",
        "BANANA",
        "true",
        "1800",
        "0.5",
    ]
    assert (number.requires_tool, text.requires_tool, truth.level) == (True, False, "compare")
    assert tools.is_correct(number, "#### 3.0 times")
    assert not tools.is_correct(number, "#### 13")
    assert not tools.is_correct(number, "3")
    assert tools.is_correct(text, 'It is\n#### "BANANA".')
    assert not tools.is_correct(text, "#### banana")
    assert not tools.is_correct(text, "#### BANANA APPLE")
    assert tools.is_correct(truth, "#### true")
    assert tools.is_correct(price, "#### 1800 dollars")
    for problem in (number, text, truth, price, half):
        assert tools.is_correct(problem, problem.solution.text)


def test_qa_wants_the_answer_as_whole_words(tmp_path: Path):
    problem = load("qa", tmp_path, CAT)[0]
    qa = TASKS["qa"]
    assert problem.answer == "mia cat"
    for text in (
        "Mia the Cat",
        "mia cat.",
        "It is Mia, the cat!",
        "<|think_start|>Ben?<|think_end|>Mia the Cat has it.",
    ):
        assert qa.is_correct(problem, text)
    for text in ("Mia", "cat Mia", "Mia the catfish", "", "<|think_start|>Mia the Cat<|think_end|>"):
        assert not qa.is_correct(problem, text)
    assert qa.extract(problem, "It is Ben.") == "it is ben"
    assert qa.extract(problem, "...") is None


def test_qa_pays_nothing_for_naming_every_candidate(tmp_path: Path):
    rows = [
        CAT,
        {"question": "Who has a blue hat?", "answer": "Ben"},
        {"question": "Which colour has the ball of Ben?", "answer": "dark red"},
        {"question": "Is the boat red or blue?", "answer": "red"},
        {"question": "And the bird?", "answer": "blue"},
    ]
    cat, ben, dark, boat, bird = load("qa", tmp_path, *rows)
    qa = TASKS["qa"]
    for problem in (cat, ben, dark, boat, bird):
        assert qa.is_correct(problem, problem.solution.text)
    everything = " ".join(row["answer"] for row in rows)
    assert not any(qa.is_correct(problem, everything) for problem in (cat, ben, dark, boat, bird))
    assert qa.is_correct(dark, "The ball of Ben is dark red.")  # "Ben" is the question's, "red" the answer's
    assert not qa.is_correct(dark, "The ball is dark red or red.")
    assert not qa.is_correct(boat, "dark red")
    assert not qa.is_correct(boat, "It is red or blue.")
    assert not qa.is_correct(bird, " ".join(["word"] * 21) + " blue")
    assert qa.is_correct(bird, " ".join(["word"] * 20) + " blue")


def test_examples_are_solved_turns_before_the_question(tmp_path: Path):
    shot, problem = load("arc", tmp_path, FEVER, {**FEVER, "id": "other", "answerKey": "A"})
    prompt = with_examples(problem, [shot])
    assert [message.role for message in prompt.messages] == ["user", "assistant", "user"]
    assert prompt.messages[1].parts == (Part(type="text", text="The answer is C."),)
    assert prompt.question == problem.question
    assert prompt.answer == "A"
    assert prompt.conversation[-1] == problem.solution


BAD_ROWS = [
    ("gsm8k", {"question": "q"}, "no field 'answer'; it has: question"),
    ("gsm8k", {"question": " ", "answer": "#### 1"}, "field 'question' has to be a text"),
    ("gsm8k", {"question": "q", "answer": "72"}, "has to end in '#### ' and a number"),
    ("gsm8k", {"question": "q", "answer": "#### 1/2"}, "has to end in '#### ' and a number"),
    ("gsm8k", "{not json", "not valid JSON"),
    ("arc", {"question": "q", "choices": ["a", "b", "c"]}, "no field 'answerKey'"),
    ("arc", {"question": "q", "answer_key": "A"}, "no field 'choices'"),
    ("arc", {"question": {"choices": []}, "answerKey": "A"}, "no field 'stem'"),
    (
        "arc",
        {"question": "q", "choices": ["a", "b", "c"], "answer_key": "D"},
        "is 'D'; the choices are A, B, C",
    ),
    (
        "arc",
        {"question": "q", "choices": ["a", "b"], "answer_key": "A"},
        "2 choices; there have to be 3 to 5",
    ),
    ("arc", {"question": "q", "choices": ["a", "b", " "], "answer_key": "A"}, "each choice has to be a text"),
    ("arc", {"question": "q", "choices": "abc", "answer_key": "A"}, "'choices' has to be a list"),
    ("arc", {"question": "q", "choices": {"text": ["a"]}, "answerKey": "A"}, "no field 'label'"),
    ("mmlu", {"question": "q", "choices": ["a"] * 4, "answer": "B"}, "it has to be a letter A to D"),
    ("mmlu", {"question": "q", "choices": ["a"] * 3, "answer": 1}, "a list of 4 texts"),
    ("tools", {"prompt": "p"}, "no field 'expected_answer'"),
    ("tools", {"expected_answer": "p"}, "no field 'prompt'"),
    ("tools", {"prompt": "p", "expected_answer": None}, "has to be a text or a number"),
    ("tools", {"prompt": "p", "expected_answer": 1, "requires_tool": "yes"}, "has to be true or false"),
    ("qa", {"question": "q", "answer": "the"}, "has no word in it"),
]


@pytest.mark.parametrize(("task", "row", "message"), BAD_ROWS)
def test_bad_rows_are_named_or_counted(tmp_path: Path, task: str, row: object, message: str):
    good = {"gsm8k": CLIPS, "arc": FEVER, "tools": HOW_MANY, "qa": CAT}.get(
        task, {"question": "q", "choices": list("abcd"), "answer": 0}
    )
    path = write_jsonl(tmp_path / "rows.jsonl", good, row, good)
    with pytest.raises(UserError) as error:
        TASKS[task].load(path)
    assert str(error.value).startswith(f"{path}:2: ")
    assert message in str(error.value)
    bad_rows = BadRows("skip")
    assert len(TASKS[task].load(path, on_bad_row=bad_rows)) == 2
    assert bad_rows.count == 1


def test_bad_csv_rows_are_named_by_their_first_line(tmp_path: Path):
    path = tmp_path / "x_test.csv"
    path.write_text('"two\nlines",a,b,c,d,A\nq,a,b,c,d,E\nq,a,b\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"x_test\.csv:3: the answer is"):
        TASKS["mmlu"].load(path)
    bad_rows = BadRows("skip")
    assert len(TASKS["mmlu"].load(path, on_bad_row=bad_rows)) == 1
    assert bad_rows.count == 2


def test_unreadable_files_are_user_errors(tmp_path: Path):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "a.xlsx").touch()
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "latin_test.csv").write_bytes(b"caf\xe9,a,b,c,d,A\n")
    (tmp_path / "quote_test.csv").write_text('"never closed,a,b,c,d,A\n', encoding="utf-8")
    cases = [
        ("gsm8k", "missing.jsonl", "no such file"),
        ("gsm8k", "empty.jsonl", "no gsm8k problem in it"),
        ("gsm8k", "a.xlsx", "unknown kind of file"),
        ("gsm8k", "", "is a folder"),
        ("arc", "cut.parquet", "can not be read as Parquet"),
        ("mmlu", "missing.csv", "no such file"),
        ("mmlu", "latin_test.csv", "can not be read as CSV"),
        ("mmlu", "quote_test.csv", "can not be read as CSV"),
    ]
    for task, name, message in cases:
        with pytest.raises(UserError, match=message):
            TASKS[task].load(tmp_path / name)


def test_every_task_has_a_name_of_its_own_on_pages():
    assert LABELS.keys() == TASKS.keys()
    assert len(set(LABELS.values())) == len(LABELS)
