"""The page in a real browser, from the real server, with a tiny model that has learned four answers."""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from picochat.engine.continuous import ContinuousBatch
from picochat.engine.generate import Engine
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT, IGNORE
from picochat.model.init import initialize
from picochat.serve.app import Limits, create_app
from picochat.serve.models import Served
from picochat.tokenizer.conversation import Rendered, parse_messages, render_conversation
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import train_tokenizer

CONTEXT = 512
FACT = "Where does Mara live?"
SUM = "Sam has 74 mugs and Fred has 20. How many more has Sam?"
STORY = "Tell me a long story."
MARKUP = "Show me markup."
HOSTILE = (
    "<img src=x onerror=\"document.title='broken'\"> <script>document.title='broken'</script>\n\n"
    "\u202eevil\u202c \u2028 `<b>` **bold** 2*3*4"
)
ANSWERS: dict[str, str | list[dict[str, str]]] = {
    FACT: "Mara lives in Elmford.",
    SUM: [
        {"type": "thinking", "text": "I take 20 from 74."},
        {"type": "tool_call", "text": "74-20"},
        {"type": "tool_result", "text": "54"},
        {"type": "text", "text": "Sam has 54 more."},
    ],
    STORY: " ".join(f"Line {number} of the story." for number in range(1, 21)),
    MARKUP: HOSTILE,
}
STEPS = 200
LIKELIEST = """
if (!localStorage.getItem("picochat.settings"))
  localStorage.setItem("picochat.settings", '{"sampling": {"temperature": 0}}');
"""
"""A visitor asks for the likeliest tokens: at the usual temperature one answer in ten has a slip."""
pace = {"seconds": 0.0}
"""How long a decoding step is held up; the tiny model would be done before a stop is pressed."""


@pytest.fixture(scope="session", autouse=True)
def browser_timeouts() -> None:
    """Wait long enough for a machine that does other things too."""
    expect.set_options(timeout=20_000)


@pytest.fixture
def slowly() -> Iterator[None]:
    """Let the model write some twenty tokens a second."""
    pace["seconds"] = 0.05
    yield
    pace["seconds"] = 0.0


@pytest.fixture(scope="session")
def engine() -> Engine:
    """A model that knows ANSWERS by heart, wherever in a conversation they are asked for."""
    texts = [*ANSWERS, *(part for answer in ANSWERS.values() for part in texts_of(answer))]
    tokenizer = train_tokenizer(texts * 3, 360)
    torch.manual_seed(0)
    model = GPT(ModelConfig.from_depth(2, vocab_size=tokenizer.vocab_size, sequence_len=CONTEXT))
    initialize(model, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    rng = random.Random(0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, 2 * (STEPS - step) / STEPS)
        ids_BT, targets_BT = batch_of([conversation(rng, tokenizer) for _ in range(3)])
        loss = model.loss_per_token(ids_BT, targets_BT).sum() / (targets_BT != IGNORE).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss.item() < 0.05
    return Engine(model.requires_grad_(False), tokenizer)


def texts_of(answer: str | list[dict[str, str]]) -> list[str]:
    return [answer] if isinstance(answer, str) else [part["text"] for part in answer]


def conversation(rng: random.Random, tokenizer: Tokenizer) -> Rendered:
    """One to four questions with their answers."""
    rows: list[dict[str, Any]] = []
    for question in rng.choices(list(ANSWERS), k=rng.randint(1, 4)):
        rows.append({"role": "user", "content": question})
        rows.append({"role": "assistant", "content": ANSWERS[question]})
    return render_conversation(tokenizer, parse_messages(rows, where="test"))


def batch_of(rows: list[Rendered]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and targets of rows that are padded at their ends."""
    T = min(CONTEXT, max(len(row.ids) for row in rows))
    ids_BT = torch.zeros(len(rows), T, dtype=torch.long)
    targets_BT = torch.full((len(rows), T), IGNORE)
    for b, row in enumerate(rows):
        learned = torch.tensor([i if m else IGNORE for i, m in zip(row.ids, row.mask, strict=True)])
        ids_BT[b, : len(row.ids)] = torch.tensor(row.ids[:T])
        targets_BT[b, : len(learned[1:T])] = learned[1:T]
    return ids_BT, targets_BT


@contextmanager
def serving(models: dict[str, Served], **options: Any) -> Iterator[str]:
    """Serve on a free port; yield the page's address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(models, **options), log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="session")
def unhurried() -> Iterator[None]:
    """Let tests hold up decoding steps by `pace`."""
    step = ContinuousBatch.step

    def held_up(self: ContinuousBatch) -> Any:
        time.sleep(pace["seconds"])
        return step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContinuousBatch, "step", held_up)
        yield


@pytest.fixture(scope="session")
def address(engine: Engine, unhurried: None) -> Iterator[str]:
    """Two names for the one model."""
    models = {
        "tiny": Served(name="tiny", engine=engine, stage="sft"),
        "other": Served(name="other", engine=Engine(engine.model, engine.tokenizer), stage="grpo"),
    }
    with serving(models) as url:
        yield url


@pytest.fixture
def address_with_key(engine: Engine) -> Iterator[str]:
    with serving({"tiny": Served(name="tiny", engine=engine)}, api_key="open-sesame") as url:
        yield url


@pytest.fixture
def narrow_address(engine: Engine, unhurried: None) -> Iterator[str]:
    """A server that writes one answer at a time and lets nobody wait."""
    with serving(
        {"tiny": Served(name="tiny", engine=engine)}, limits=Limits(max_rows=1, max_waiting=0)
    ) as url:
        yield url


@dataclass
class Visit:
    """Somebody at the page."""

    page: Page
    problems: list[str] = field(default_factory=list)
    """What the console complains about; a test that ends with any has failed."""
    requests: list[str] = field(default_factory=list)

    def ask(self, text: str) -> None:
        """Write and send, without waiting for the answer."""
        self.page.fill("#prompt", text)
        self.page.keyboard.press("Enter")

    def answer(self, text: str) -> str:
        """Ask, wait, and return the last answer's text."""
        self.ask(text)
        self.finish()
        return self.page.locator(".message.assistant .parts").last.inner_text()

    def finish(self) -> None:
        """Wait until nothing is being written."""
        expect(self.page.locator("#live")).to_have_text("")
        expect(self.page.locator("#stop")).to_be_hidden()
        expect(self.page.locator(".message.assistant").last).to_have_attribute("aria-busy", "false")

    def press(self, *keys: str) -> None:
        """Press keys while nothing is being typed."""
        self.page.evaluate("document.activeElement.blur()")
        for key in keys:
            self.page.keyboard.press(key)

    def forgive(self, part: str) -> None:
        """Let pass what the console says of requests that are meant to fail; there must be some."""
        forgiven = [problem for problem in self.problems if part in problem]
        assert forgiven
        self.problems = [problem for problem in self.problems if part not in problem]


Open = Callable[..., Visit]


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Open an address in a fresh profile; at the end nothing may have gone wrong in any page."""
    visits: list[tuple[str, Visit]] = []

    def open_(url: str, **options: Any) -> Visit:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.add_init_script(LIKELIEST)
        visit = Visit(context.new_page())

        def on_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                visit.problems.append(message.text)

        visit.page.on("console", on_console)
        visit.page.on("pageerror", lambda error: visit.problems.append(str(error)))
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        visits.append((url, visit))
        visit.page.goto(url)
        expect(visit.page.locator("#model option")).not_to_have_count(0)
        return visit

    yield open_
    for url, visit in visits:
        visit.page.context.close()
        assert not visit.problems
        assert all(request.startswith((url, "data:", "blob:")) for request in visit.requests)


@pytest.fixture
def visit(open_page: Open, address: str) -> Visit:
    return open_page(address)
