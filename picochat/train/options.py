"""Options of the training stages, importable without torch."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from picochat.engine.options import SamplingOptions
from picochat.errors import UserError
from picochat.kernels.choice import Kernels
from picochat.optim.options import OptimizerOptions


@dataclass(frozen=True, kw_only=True)
class RunOptions(OptimizerOptions):
    """What every training stage has in common."""

    ASKED_AGAIN: ClassVar[frozenset[str]] = frozenset()
    """Options that a resumed run does not take from its folder: they name code."""

    run: str | None = None
    """Name of the run; a new one made from the stage by default."""
    runs_dir: str = "runs"
    """Folder that holds the runs."""
    resume: bool = False
    """Go on with the run from its newest checkpoint; its own options are the defaults then."""
    steps: int = 1000
    """Optimizer steps."""
    grad_accum: int = 1
    """Micro-batches that a step is cut into, to save memory."""
    warmup: int = 20
    """Steps over which the learning rates rise."""
    warmdown: float = 0.5
    """Share of the steps over which the learning rates fall to zero at the end."""
    clip: float = 1.0
    """Longest gradient allowed; a longer one is scaled down to it. 0 switches this off."""
    seed: int = 0
    """Seed of weights, data order and samples."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What products are computed in; weights and optimizer stay float32."""
    shard: bool = False
    """Divide the weights among the processes that torchrun starts, for models that do not fit one device."""
    kernels: Kernels = "auto"
    """auto: the fastest for the device, torch.compile on CUDA; compile: torch.compile on CPU too (needs a C++
    compiler); portable: nothing compiled at run time, no allocator setting; plain: every operation as its
    formula is written, for comparison."""
    eval_every: int = 100
    """Steps between validations (0: only at the start and the end)."""
    sample_every: int = 100
    """Steps between samples from fixed prompts (0: only at the start and the end)."""
    save_every: int = 200
    """Steps between checkpoints (0: only at the end)."""
    keep: int = 3
    """Newest checkpoints to keep; the best one is kept besides."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do about an unreadable row of data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least_1("steps", "grad_accum")
        self._check_not_negative("warmup", "eval_every", "sample_every", "save_every", "clip")
        if not 0 <= self.warmdown <= 1:
            raise UserError(f"--warmdown is a share of the steps between 0 and 1, not {self.warmdown}")
        if self.keep < 2:
            raise UserError("--keep must be at least 2: the newest checkpoint may be the damaged one")

    def _check_at_least_1(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")

    def _check_not_negative(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must not be negative, not {getattr(self, name)}")

    def check_rows(self, num_processes: int = 1) -> None:
        """Raise UserError unless processes and micro-batches can share the rows of a step evenly."""
        if self.rows_per_step % (num_processes * self.grad_accum):
            processes = f"the {num_processes} processes times " if num_processes > 1 else ""
            raise UserError(
                f"{self.rows_text} must be a multiple of {processes}--grad-accum {self.grad_accum}"
            )

    @property
    def rows_per_step(self) -> int:
        """Sequences of an optimizer step, over all micro-batches and ranks."""
        raise NotImplementedError

    @property
    def rows_text(self) -> str:
        """The options that `rows_per_step` comes from, as they are given."""
        raise NotImplementedError

    @property
    def step_text(self) -> str:
        """What an optimizer step is made of, to be shown."""
        raise NotImplementedError

    def row(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return asdict(self)

    @property
    def directory(self) -> Path:
        """The run's folder."""
        assert self.run is not None, "the stage names the run before it is built"
        return Path(self.runs_dir) / self.run


@dataclass(frozen=True, kw_only=True)
class PackedOptions(RunOptions):
    """What the stages that train on packed text have in common."""

    batch_size: int = 8
    """Sequences per optimizer step, over all micro-batches and ranks."""
    seq_len: int = 256
    """Tokens per sequence, which is also the context of a model that is pretrained."""
    eval_tokens: int = 65536
    """Validation tokens at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least_1("batch_size")
        self._check_not_negative("eval_tokens", "seq_len")
        self.check_rows()

    @property
    def rows_per_step(self) -> int:
        """The batch size."""
        return self.batch_size

    @property
    def rows_text(self) -> str:
        """The batch size as it is given."""
        return f"--batch-size {self.batch_size}"

    @property
    def step_text(self) -> str:
        """Sequences and their length."""
        return f"{self.batch_size} x {self.seq_len} tokens"


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(PackedOptions):
    """Train a model on raw text."""

    data: tuple[str, ...] = ()
    """Text, JSON-lines or parquet files, or folders of them (default: the built-in world)."""
    val_data: tuple[str, ...] = ()
    """Held-out text for validation (default: a hundredth of the documents of --data)."""
    tokenizer: str | None = None
    """A tokenizer.json, or a run or folder that holds one (default: one trained on the data)."""
    vocab_size: int = 2048
    """Size of the tokenizer that is trained when none is given."""
    column: str = "text"
    """Field that holds the text in JSON-lines and parquet files."""
    split: str = "paragraphs"
    """How plain text falls into documents: paragraphs, file, or a separator."""
    depth: int = 4
    """Layers; everything else about the model follows from it."""
    steps: int = 1800
    prompts: tuple[str, ...] = ("Once upon a time", "The", "In the morning,")
    """What the model is asked to continue while it trains."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least_1("seq_len")


@dataclass(frozen=True, kw_only=True)
class SftOptions(PackedOptions):
    """Teach a trained model to answer, from conversations."""

    load: str = ""
    """Run or checkpoint to begin with: NAME, NAME@500, NAME@best or a folder."""
    data: tuple[str, ...] = ()
    """Conversations, JSON-lines files with a weight each: a.jsonl:1.0 (default: the built-in world)."""
    val_data: tuple[str, ...] = ()
    """Conversations for validation (default: a twentieth of --data, held out)."""
    prompts: tuple[str, ...] = ("Hello!", "Who are you?")
    """Questions that the model is asked while it trains."""
    seq_len: int = 0
    """Tokens per sequence (0: the model's context)."""
    lr: float | None = 0.005
    """Learning rate of the block matrices; all groups scale with it."""
    steps: int = 200
    warmup: int = 0
    warmdown: float = 1.0
    eval_every: int = 50
    sample_every: int = 50
    save_every: int = 100


@dataclass(frozen=True, kw_only=True)
class GrpoOptions(RunOptions):
    """Let a model practise: it answers problems many times and learns from what was rewarded."""

    ASKED_AGAIN = frozenset({"reward"})

    load: str = ""
    """Run or checkpoint to begin with: NAME, NAME@500, NAME@best or a folder."""
    gsm8k: tuple[str, ...] = ()
    """Word problems to practise, files with a weight each: a.jsonl:1.0 (default: the built-in world's, if no
    problems are given at all)."""
    arc: tuple[str, ...] = ()
    """Multiple-choice questions to practise, like --gsm8k."""
    tools: tuple[str, ...] = ()
    """Tool scenarios to practise, like --gsm8k."""
    qa: tuple[str, ...] = ()
    """Simple questions to practise, like --gsm8k."""
    eval_gsm8k: tuple[str, ...] = ()
    """Held-out word problems (default: the built-in world's, if that is what is practised)."""
    eval_arc: tuple[str, ...] = ()
    """Held-out multiple-choice questions."""
    eval_tools: tuple[str, ...] = ()
    """Held-out tool scenarios."""
    eval_qa: tuple[str, ...] = ()
    """Held-out simple questions."""
    eval_problems: int = 100
    """Held-out problems of each file that are asked at most, at equal distances in it."""
    prompts: int = 12
    """Problems per optimizer step."""
    group_size: int = 8
    """Answers to each problem, compared with each other."""
    epochs: int = 1
    """Optimizer steps that are made on the same answers."""
    dynamic_sampling: bool = True
    """Replace problems whose answers are all rewarded alike, from which nothing can be learned, by others."""
    max_draws: int = 3
    """Times that problems are drawn for one batch at most, with --dynamic-sampling."""
    max_tokens: int = 96
    """Tokens the model may write in one answer."""
    temperature: float = 1.0
    """Divides the logits when answers are drawn; the policy in training is the one at this temperature."""
    top_k: int = 0
    """Draw among the k likeliest tokens only; 0 for all."""
    top_p: float = 1.0
    """Draw among the fewest likeliest tokens that together have this probability; 1 for all."""
    thinking_budget: int | None = None
    """Tokens the model may think before it is told to answer; no limit if not given."""
    clip_eps: float = 0.2
    """How far a token's probability may fall under, as a share, what it was when the answer was drawn."""
    clip_eps_high: float | None = None
    """How far it may rise over that (default: as far as it may fall)."""
    kl_beta: float = 0.1
    """Weight of the divergence from the model that was begun with; 0 needs no copy of it."""
    advantage_std: bool = True
    """Divide a group's advantages by the standard deviation of its rewards."""
    normalize: Literal["token", "sequence"] = "token"
    """Take the mean over all tokens, or over the means of the answers."""
    accuracy_weight: float = 1.0
    """Reward of a right answer."""
    format_weight: float = 0.2
    """Reward of an answer that is built as it should be: one thinking block, then the answer."""
    tool_weight: float = 0.3
    """Reward of using the calculator where the problem requires it."""
    length_weight: float = 0.1
    """What an answer twice as long as --target-length (or longer) loses; in proportion below that."""
    target_length: int | None = None
    """Tokens an answer may have at no cost (default: half of --max-tokens)."""
    reward: tuple[str, ...] = ()
    """Your own rewards: module:function or module:function:weight. The module is imported, from this folder
    too; function(problem, completion) returns a number."""
    log_groups: int | None = None
    """Problems per step whose answers are kept in rollouts.jsonl (default: all)."""
    optimizer: Literal["muon", "adamw"] = "adamw"
    """What trains the block matrices; everything else is trained by AdamW."""
    lr: float | None = 1e-3
    """Learning rate of the block matrices; all groups scale with it."""
    embedding_lr: float = 0.15
    """Learning rate of token and value embeddings, as a multiple of muon's (0.15: --lr itself, with
    adamw)."""
    head_lr: float = 0.15
    """Learning rate of the output head, as a multiple of muon's."""
    scalar_lr: float = 0.15
    """Learning rate of the per-layer scalars, as a multiple of muon's."""
    steps: int = 60
    warmup: int = 5
    eval_every: int = 20
    sample_every: int = 20
    save_every: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least_1("prompts", "epochs", "max_draws", "max_tokens", "eval_problems")
        self._check_not_negative(
            "clip_eps", "kl_beta", "accuracy_weight", "format_weight", "tool_weight", "length_weight"
        )
        if self.group_size < 2:
            raise UserError(
                f"--group-size must be at least 2, not {self.group_size}: answers are compared in groups"
            )
        if self.clip_eps_high is not None:
            self._check_not_negative("clip_eps_high")
        if self.temperature == 0 or self.top_k == 1:
            raise UserError("--temperature 0 and --top-k 1 give equal answers; GRPO learns from differences")
        for name in ("target_length", "log_groups"):
            if getattr(self, name) is not None:
                self._check_at_least_1(name)
        self.check_rows()
        self.sampling(seed=0)

    def sampling(self, *, seed: int) -> SamplingOptions:
        """Return how answers are drawn."""
        return SamplingOptions(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            thinking_budget=self.thinking_budget,
            seed=seed,
        )

    @property
    def length_target(self) -> int:
        """Tokens an answer may have at no cost."""
        return max(1, self.max_tokens // 2) if self.target_length is None else self.target_length

    @property
    def rows_per_step(self) -> int:
        """Answers of an optimizer step."""
        return self.prompts * self.group_size

    @property
    def rows_text(self) -> str:
        """The options that the number of answers comes from."""
        return f"--prompts {self.prompts} times --group-size {self.group_size}"

    @property
    def step_text(self) -> str:
        """Problems and answers."""
        return f"{self.prompts} problems x {self.group_size} answers"
