"""Export to Hugging Face transformers: a folder that brings its own modeling file."""

import json
from dataclasses import asdict
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from picochat.interop.folder import new_folder
from picochat.interop.rust_picochat import float_weights
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.tokenizer.formats import ESCAPED_BAR, build_export
from picochat.tokenizer.tokenizer import Tokenizer

MODELING = "modeling_picochat"
# The conversation renderer (tokenizer/conversation.py) as a template. transformers, unlike picochat, reads a
# control token out of any text that spells one, so what the text holds is escaped.
CHAT_TEMPLATE = """\
{%- macro plain(text) -%}{{ text | replace('|', 'ESCAPED_BAR') }}{%- endmacro -%}
{%- macro parts(message) -%}
{%- if message.reasoning_content -%}
{{ '<|think_start|>' + plain(message.reasoning_content) + '<|think_end|>' }}
{%- endif -%}
{%- if message.content is string -%}{{ plain(message.content) }}{%- else -%}
{%- set tags = {'thinking': 'think', 'tool_call': 'tool_call', 'tool_result': 'tool_result'} -%}
{%- for part in message.content -%}
{%- if part.type in tags -%}
{{ '<|' + tags[part.type] + '_start|>' + plain(part.text) + '<|' + tags[part.type] + '_end|>' }}
{%- else -%}{{ plain(part.text) }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{{- '<|bos|>' -}}
{%- for message in messages -%}
{%- set who = 'assistant' if message.role == 'assistant' else 'user' -%}
{{- '<|' + who + '_start|>' + parts(message) + '<|' + who + '_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant_start|>' -}}{%- endif -%}
""".replace("ESCAPED_BAR", ESCAPED_BAR)


def export_huggingface(model: GPT, tokenizer: Tokenizer, out: Path) -> None:
    """Write `out`, a folder for `AutoModelForCausalLM.from_pretrained(out, trust_remote_code=True)`.

    It holds weights under the names they have here, config, a self-contained modeling file, and the
    tokenizer with its chat template. What a message spells is text, as in picochat: the template has a U+FDD0
    behind each `|` of it, which the tokenizer leaves out. In text that is given to the tokenizer without the
    template, what spells a special token is one, as is the custom of transformers.

    Raises UserError if `out` exists.
    """
    weights = {name: tensor.detach().cpu().float().contiguous() for name, tensor in float_weights(model)}
    metadata = {"format": "pt", "producer": f"picochat {version('picochat')}"}
    special = tokenizer.special
    ids = {
        "bos_token_id": special["<|bos|>"],
        "eos_token_id": special["<|assistant_end|>"],
        "pad_token_id": special["<|pad|>"],
    }
    with new_folder(out) as folder:
        save_file(weights, folder / "model.safetensors", metadata=metadata)
        code = (files("picochat.interop") / f"{MODELING}.py.txt").read_text(encoding="utf-8")
        (folder / f"{MODELING}.py").write_text(code, encoding="utf-8")
        _write(folder / "config.json", _config(model.config) | ids)
        _write(folder / "generation_config.json", ids | {"use_cache": False})
        _write(folder / "tokenizer_config.json", _tokenizer_config(model.config))
        build_export(tokenizer.vocabulary).save(str(folder / "tokenizer.json"), pretty=False)


def _config(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "picochat",
        "architectures": ["PicochatForCausalLM"],
        "auto_map": {
            "AutoConfig": f"{MODELING}.PicochatConfig",
            "AutoModelForCausalLM": f"{MODELING}.PicochatForCausalLM",
        },
        **asdict(config),
        "hidden_size": config.n_embd,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "max_position_embeddings": config.sequence_len,
        "dtype": "float32",
        "tie_word_embeddings": False,
        "use_cache": False,
    }


def _tokenizer_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|assistant_end|>",
        "pad_token": "<|pad|>",
        "model_max_length": config.sequence_len,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
