"""lm-evaluation-harness (EleutherAI) on picochat's models: the adapter between the two.

Imports the `eval` extra. The harness's requests have `args`: (context, continuation) where likelihood is
asked, (text,) for a whole text, (context, options) where the model is to write.
"""

import json
from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import TemplateLM  # pyright: ignore[reportMissingImports]
from lm_eval.utils import (  # pyright: ignore[reportMissingImports]
    get_rolling_token_windows,
    make_disjoint_window,
)

from picochat.engine.generate import Engine
from picochat.engine.options import SamplingOptions
from picochat.errors import UserError
from picochat.eval.likelihood import Alternatives, log_likelihoods
from picochat.model.gpt import GPT
from picochat.tokenizer.conversation import parse_messages, render_prompt
from picochat.tokenizer.tokenizer import Tokenizer


class HarnessModel(TemplateLM):
    """A picochat model as the harness sees one.

    chat: prompts are conversations in picochat's format. A context is then the JSON of its messages, which
    only this class makes and reads, so that no text of a task becomes a special token. Without, a context is
    `<|bos|>` and plain text.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer, *, chat: bool = False, batch_size: int = 32) -> None:
        super().__init__()
        self._model = model
        self._tokenizer = tokenizer
        self._chat = chat
        self.batch_size = batch_size
        self.max_length = model.config.sequence_len

    @property
    def eot_token_id(self) -> int:
        """What stands before a text, and so is the context of one without."""
        return self._tokenizer.special["<|bos|>"]

    @property
    def tokenizer_name(self) -> str:
        """Part of the key under which the harness caches requests."""
        return self._tokenizer.fingerprint

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return the conversation as JSON; a last assistant's turn is the beginning of the answer."""
        return json.dumps(chat_history, ensure_ascii=False)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Return the ids of a text, `<|bos|>` before it unless `add_special_tokens` is False."""
        ids = self._tokenizer.encode(string)
        return ids if add_special_tokens is False else [self.eot_token_id, *ids]

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if not self._chat:
            return super()._encode_pair(context, continuation)
        prompt, beginning = self._conversation(context)
        before, whole = self._tokenizer.encode(beginning), self._tokenizer.encode(beginning + continuation)
        common = 0
        while common < min(len(before), len(whole)) and before[common] == whole[common]:
            common += 1
        return prompt + whole[:common], whole[common:]

    def _conversation(self, context: str) -> tuple[list[int], str]:
        """Return the ids up to `<|assistant_start|>`, and the text that the answer is to begin with."""
        messages = parse_messages(json.loads(context), where="the harness's prompt")
        beginning = messages.pop().text if messages[-1].role == "assistant" else ""
        return render_prompt(self._tokenizer, messages), beginning

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        # Choices of one question share their context, which is then read once.
        together: dict[tuple[int, ...], list[int]] = {}
        for number, (texts, context, continuation) in enumerate(requests):
            if not 1 <= len(continuation) <= self.max_length:
                raise UserError(
                    f"the harness asks how likely {texts[1]!r} is: {len(continuation)} tokens, but it has to "
                    f"be 1 to {self.max_length}; mend the task, or use a model with more context"
                )
            # Too long a context loses its beginning, as in the harness's own models.
            room = self.max_length + 1 - len(continuation)
            together.setdefault(tuple(context[-room:]), []).append(number)
        alternatives = [
            Alternatives(context=context, continuations=tuple(tuple(requests[i][2]) for i in numbers))
            for context, numbers in together.items()
        ]
        scored = log_likelihoods(self._model, alternatives, batch_size=self.batch_size)
        results: dict[int, tuple[float, bool]] = {}
        for numbers, likelihoods in zip(together.values(), scored, strict=True):
            results |= zip(numbers, likelihoods, strict=True)
        return [results[number] for number in range(len(requests))]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of whole texts, in the harness's windows."""
        totals = []
        for request in requests:
            (text,) = request.args
            windows = get_rolling_token_windows(
                self._tokenizer.encode(text),
                prefix_token=self.eot_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            pairs = [make_disjoint_window(window) for window in windows]
            scored = self._loglikelihood_tokens([(("", text), *pair) for pair in pairs])
            totals.append(sum(logprob for logprob, _ in scored))
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Return what the model writes: visible text, up to a stop string."""
        together: dict[SamplingOptions, list[int]] = {}
        for number, request in enumerate(requests):
            together.setdefault(sampling_options(request.args[1]), []).append(number)
        engine = Engine(self._model, self._tokenizer)
        texts: dict[int, str] = {}
        for options, numbers in together.items():
            for start in range(0, len(numbers), self.batch_size):
                some = numbers[start : start + self.batch_size]
                prompts = [self._prompt(requests[i].args[0], options.max_tokens) for i in some]
                answers = engine.generate_batch(prompts, options)
                texts |= {i: answer.text for i, (answer,) in zip(some, answers, strict=True)}
        return [texts[number] for number in range(len(requests))]

    def _prompt(self, context: str, max_tokens: int) -> Sequence[int]:
        if self._chat:
            prompt, beginning = self._conversation(context)
            ids = prompt + self._tokenizer.encode(beginning)
        else:
            ids = self.tok_encode(context)
        # Too long a prompt loses its beginning, to make room for the answer: up to half of the context.
        return ids[-(self.max_length - min(max_tokens, self.max_length // 2)) :]


def sampling_options(asked: dict[str, Any]) -> SamplingOptions:
    """Return a task's `generation_kwargs` as options: greedy unless they say `do_sample`."""
    until = asked.get("until") or ()
    is_sampled = asked.get("do_sample", False)
    return SamplingOptions(
        temperature=float(asked.get("temperature", 1.0)) if is_sampled else 0,
        top_k=int(asked.get("top_k", 0)),
        top_p=float(asked.get("top_p", 1.0)),
        seed=int(asked.get("seed", 0)),
        max_tokens=int(asked.get("max_gen_toks", 256)),
        stop=(until,) if isinstance(until, str) else tuple(until),
    )
