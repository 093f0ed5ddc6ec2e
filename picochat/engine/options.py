"""The options of a generation. No torch here: the command line and the workbench show them before a model
is there."""

import secrets
from dataclasses import dataclass, replace

from picochat.errors import UserError

MAX_SEED = 2**63 - 1
MAX_STOP_STRINGS = 16
MAX_STOP_LENGTH = 256


def _check_number(name: str, value: float, low: float, high: float, cure: str, *, over: bool = False) -> None:
    """Raise UserError unless `value` is a number in [low, high]; `over`: and not `low` itself."""
    # Written so that NaN fails too.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and low <= value <= high and not (over and value == low):
        return
    bound = f"over {low:g}" if over else f"at least {low:g}"
    raise UserError(f"{name} must be a number {bound} and at most {high:g}, not {value!r}; {cure}")


def _check_integer(name: str, value: int, low: int, cure: str, *, high: int = MAX_SEED) -> None:
    """Raise UserError unless `value` is a whole number in [low, high]."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"{name} must be a whole number of at least {low}, not {value!r}; {cure}")


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How the next token is chosen, and when an answer ends.

    The steps are taken in this order: repetition penalty, temperature, top-k, top-p, min-p, draw.
    """

    temperature: float = 0.8
    """Divides the logits: under 1 bolder, over 1 more even, 0 always the likeliest token."""
    top_k: int = 50
    """Draw among the k likeliest tokens only; 0 for all."""
    top_p: float = 1.0
    """Draw among the fewest likeliest tokens that together have this probability; 1 for all."""
    min_p: float = 0.0
    """Leave out tokens whose probability is under this share of the likeliest token's."""
    repetition_penalty: float = 1.0
    """Makes every token the answer already holds less likely, once however often it stands there; 1 for
    none."""
    seed: int | None = None
    """Same seed, same prompt, same answer; a new one each time if not given."""
    max_tokens: int = 256
    """Tokens the model may write in one answer (what a tool writes is not counted)."""
    stop: tuple[str, ...] = ()
    """End the answer before any of these strings."""
    thinking_budget: int | None = None
    """Tokens the model may think before it is told to answer; no limit if not given."""

    def __post_init__(self) -> None:
        _check_number("temperature", self.temperature, 0, 100, "0 is greedy, 0.8 is usual")
        _check_integer("top_k", self.top_k, 0, "0 switches it off")
        _check_number("top_p", self.top_p, 0, 1, "1 switches it off, temperature 0 is greedy", over=True)
        _check_number("min_p", self.min_p, 0, 1, "0 switches it off")
        _check_number("repetition_penalty", self.repetition_penalty, 0.01, 100, "1 switches it off")
        _check_integer("max_tokens", self.max_tokens, 1, "256 is usual")
        if self.seed is not None:
            _check_integer("seed", self.seed, 0, "leave it out for a new one each time")
        if self.thinking_budget is not None:
            _check_integer("thinking_budget", self.thinking_budget, 0, "leave it out for no limit")
        self._check_stop()

    def _check_stop(self) -> None:
        if isinstance(self.stop, list):
            object.__setattr__(self, "stop", tuple(self.stop))
        is_strings = isinstance(self.stop, tuple) and all(isinstance(stop, str) for stop in self.stop)
        if not is_strings or len(self.stop) > MAX_STOP_STRINGS:
            raise UserError(f"stop must be a list of at most {MAX_STOP_STRINGS} strings, not {self.stop!r}")
        if not all(1 <= len(stop) <= MAX_STOP_LENGTH for stop in self.stop):
            raise UserError(f"each stop string must have 1 to {MAX_STOP_LENGTH} characters")

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0 or self.top_k == 1

    def seeded(self) -> "SamplingOptions":
        """Return these options with a seed: their own, or a newly drawn one."""
        return self if self.seed is not None else replace(self, seed=secrets.randbelow(2**32))
