"""Texts to try a tokenizer on: kinds of text it was maybe never shown, and cases that are hard for many."""

from dataclasses import dataclass

PLAYGROUND = """\
Mia counted 12 lanterns by the water, and 7 more on the bridge. "That makes 19," she said.
The lanterns swayed; the lantern-maker's shop stayed dark. Café, naïve, 你好, 🙂!
"""

KINDS: dict[str, str] = {
    "prose": """\
The ferry left at dawn, as it had every morning for thirty years, and nobody on the quay looked up. Only the
baker's daughter waved. She had promised her brother that she would wave until the boat was behind the island,
and she kept her promises, even the small ones; perhaps above all the small ones. Then she went back to the
shop, tied her apron and began to weigh the flour. It was going to be a warm day. By noon the bread would be
sold, the street would be empty, and she could sit in the shade and read the letter once more.
""",
    "code": """\
def moving_average(values: list[float], window: int) -> list[float]:
    \"\"\"Return the mean of each `window` neighbours.\"\"\"
    total, means = 0.0, []
    for index, value in enumerate(values):
        total += value
        if index >= window:
            total -= values[index - window]
        if index + 1 >= window:
            means.append(total / window)
    return means


if __name__ == "__main__":
    print(moving_average([1.0, 2.5, 3.0, 4.5], window=2))  # [1.75, 2.75, 3.75]
""",
    "numbers": """\
3 + 4 = 7
12 * 24 = 288
1234567 - 89012 = 1145555
2024-02-29, 23:59:59, (555) 0123, 192.168.0.1, 3.14159265, 1,000,000, 0x7fff, 50 %, 6.02e23
7 14 21 28 35 42 49 56 63 70 77 84 91 98 105 112 119 126 133 140 147 154 161 168 175 182 189 196
""",
    "other languages": """\
Die Fähre fuhr früh am Morgen, und niemand blickte auf. L'été fut très chaud; où étaient passés les élèves?
El niño soñaba con el mar. Łódź leży w Polsce. Το πλοίο έφυγε την αυγή. Паром ушёл на рассвете.
""",
    "other scripts": """\
渡船在黎明时离开了。小女孩挥着手,直到看不见船。フェリーは夜明けに出た。배는 새벽에 떠났다.
غادرت العبارة عند الفجر. המעבורת יצאה עם שחר. नाव भोर में चली गई। เรือออกตอนรุ่งสาง
""",
    "emoji": "🙂 👍🏽 👩‍👩‍👧 🏳️‍🌈 🇨🇭 1️⃣ ❤️ 🎉🎉🎉 (☕ + 🥐) = 😋\n",
}
"""One text per kind, none of them from a training set."""


@dataclass(frozen=True, kw_only=True)
class HardCase:
    """A text that many tokenizers treat badly, and why."""

    name: str
    text: str
    why: str


HARD_CASES: tuple[HardCase, ...] = (
    HardCase(
        name="spaces",
        text="a  b   c \n\n  d",
        why="Runs of spaces and line ends are tokens too; the last space goes to the word behind it.",
    ),
    HardCase(
        name="indented code",
        text="if x:\n    if y:\n        return x+y\n",
        why="Code is half spaces. A tokenizer that saw no code spends a token on each few of them.",
    ),
    HardCase(
        name="capitals",
        text="hello Hello HELLO hElLo",
        why="The same word in other letters is other tokens; the model has to learn that they mean the same.",
    ),
    HardCase(
        name="digits",
        text="7 42 365 1234567 3.14159",
        why="Digits are cut in ones and twos from the left, so that numbers of any length look alike.",
    ),
    HardCase(
        name="accents, composed",
        text="café naïve",
        why="é as one character: two bytes.",
    ),
    HardCase(
        name="accents, combining",
        text="cafe\u0301 nai\u0308ve",
        why="It looks the same, but each accent is a character of its own: to the model, other words.",
    ),
    HardCase(
        name="right to left",
        text="שלום עולם، مرحبا 12",
        why="Tokens stand in the order of reading: the first letter of a word is in the token on the left.",
    ),
    HardCase(
        name="no spaces between words",
        text="我喜欢喝茶。お茶が好きです。",
        why="Each character is three bytes. With no merges for them, a character costs three tokens.",
    ),
    HardCase(
        name="emoji",
        text="🙂👍🏽👩‍👩‍👧🇨🇭",
        why="One picture may be seven characters joined by invisible ones, and dozens of bytes.",
    ),
    HardCase(
        name="zero width",
        text="in\u200bvisible\u00a0\u2060\ufeff",
        why="Characters without a width: the eye sees nothing, the model does.",
    ),
    HardCase(
        name="look-alikes",
        text="paypal pаypаl",
        why="The second word has Cyrillic letters. The tokens tell.",
    ),
)
