"""`picochat export hf | rust`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ExportHuggingFace:
    """Write a folder that transformers loads with trust_remote_code=True."""

    load: str
    """Model: a run or a checkpoint (NAME, NAME@500, NAME@best or a folder)."""
    out: Path
    """Folder to write; it must not exist."""

    def execute(self) -> None:
        """Load and write."""
        from picochat.interop.huggingface import export_huggingface
        from picochat.train.load import load

        export_huggingface(*load(self.load), self.out)
        print(f"wrote {self.out}: model, code, tokenizer and chat template for transformers")


@dataclass(frozen=True, kw_only=True)
class ExportRust:
    """Write a folder that the Rust picochat loads."""

    load: str
    """Model: a run or a checkpoint (NAME, NAME@500, NAME@best or a folder)."""
    out: Path
    """Folder to write; it must not exist."""

    def execute(self) -> None:
        """Load and write."""
        from picochat.interop.rust_picochat import export_rust
        from picochat.train.load import load

        export_rust(*load(self.load), self.out)
        print(f"wrote {self.out}: model.safetensors, config.json and tokenizer.json of the Rust picochat")
