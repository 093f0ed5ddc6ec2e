"""From the command to the first token, against the import of torch."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.cases import Repeat, Settings

WRITE_CHECKPOINT = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.tokenizer.train import train_tokenizer
folder = Path(sys.argv[1])
tokenizer = train_tokenizer(["Once upon a time there was a small dog. "] * 9, 2048)
model = GPT(ModelConfig.from_depth(4, vocab_size=2048, sequence_len=256))
initialize(model, seed=0)
save_file({name: p.detach() for name, p in model.named_parameters()}, folder / "model.safetensors")
model.config.save(folder / "config.json")
tokenizer.save(folder / "tokenizer.json")
"""


def _runs(*arguments: str) -> Repeat:
    def repeat() -> float:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        return 1.0

    return repeat


def chat(settings: Settings) -> Repeat:
    """Return `picochat chat`, asked one thing, answering one token."""
    folder = Path(tempfile.mkdtemp(prefix="picochat-bench-"))
    subprocess.run([sys.executable, "-c", WRITE_CHECKPOINT, str(folder)], check=True)
    return _runs("-m", "picochat", "chat", "--load", str(folder), "--prompt", "Hello!", "--max-tokens", "1")


def import_torch(settings: Settings) -> Repeat:
    """Return an interpreter that imports torch."""
    return _runs("-c", "import torch")
