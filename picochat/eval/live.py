"""Several models on several tasks, told step by step: what the eval notebook runs on a thread."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from picochat.data.text import iter_texts
from picochat.engine.options import SamplingOptions
from picochat.eval.parts import TextScore, evaluate_parts, measure_parts
from picochat.eval.scores import ModelScores, TaskScore, short_names
from picochat.eval.suite import Job
from picochat.model.gpt import GPT
from picochat.tasks.registry import label
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.load import load


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be measured."""

    specs: tuple[str, ...]
    """Models, as for `load`."""
    jobs: tuple[Job, ...] = ()
    texts: tuple[str, ...] = ()
    """Files whose bits per byte are measured; none if empty."""
    max_documents: int = 64
    """Of `texts`, the first so many documents."""
    sampling: SamplingOptions = field(default_factory=lambda: SamplingOptions(temperature=0, seed=0))
    num_samples: int = 1
    runs_dir: str = "runs"
    device: str = "cpu"
    dtype: str = "float32"
    column: str = "text"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found so far."""

    models: tuple[ModelScores, ...] = ()
    """In the order of the plan; the last may lack tasks or have them in part."""
    texts: dict[str, TextScore]
    """Bits per byte by model name."""
    doing: str = ""
    done: int = 0
    total: int = 0


def measure(plan: Plan, publish: Callable[[Findings], None]) -> None:
    """Go through the plan, one model in memory at a time; `publish` is called with what is known.

    Raises:
        UserError: a model or a file can not be read.
    """
    names = short_names(plan.specs)
    documents: list[str] = []
    if plan.texts:
        documents = list(islice(iter_texts(plan.texts, column=plan.column), plan.max_documents))
    per_model = sum(len(job.problems) for job in plan.jobs) + len(documents)
    found = Findings(texts={}, total=per_model * len(plan.specs))
    for name, spec in zip(names, plan.specs, strict=True):
        publish(found := replace(found, doing=f"loading {name}"))
        model, tokenizer = load(spec, device=plan.device, dtype=plan.dtype, runs_dir=plan.runs_dir)
        scores = ModelScores(name=name, spec=spec, tasks={})
        found = replace(found, models=(*found.models, scores))
        if documents:
            found = _measure_text(model, tokenizer, documents, found, publish)
        for job in plan.jobs:
            found = _measure_job(model, tokenizer, job, plan, found, publish)
    publish(replace(found, doing="", done=found.total))


def _measure_text(
    model: GPT,
    tokenizer: Tokenizer,
    documents: list[str],
    found: Findings,
    publish: Callable[[Findings], None],
) -> Findings:
    name, before = found.models[-1].name, found.done
    publish(found := replace(found, doing=f"{name}: bits per byte"))
    for score in measure_parts(model, tokenizer.encode_batch(documents), tokenizer=tokenizer):
        done = before + sum(part.documents for part in score.parts)
        publish(found := replace(found, texts={**found.texts, name: score}, done=done))
    return found


def _measure_job(
    model: GPT,
    tokenizer: Tokenizer,
    job: Job,
    plan: Plan,
    found: Findings,
    publish: Callable[[Findings], None],
) -> Findings:
    *others, own = found.models
    before = found.done
    publish(found := replace(found, doing=f"{own.name}: {label(job.task.name)}"))
    parts = evaluate_parts(model, tokenizer, job, sampling=plan.sampling, num_samples=plan.num_samples)
    for score in parts:
        tasks: dict[str, TaskScore] = {**own.tasks, job.task.name: score}
        models = (*others, replace(own, tasks=tasks))
        publish(found := replace(found, models=models, done=before + len(score.examples)))
    return found


def builtin_text() -> str:
    """Return the built-in world's text that no model was trained on."""
    from picochat.data.builtin.write import default_world_dir

    return str(Path(default_world_dir()) / "pretrain" / "val.parquet")
