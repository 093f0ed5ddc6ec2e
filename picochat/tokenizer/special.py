"""The sixteen special tokens.

They are the last sixteen ids of every vocabulary, in the order of the Rust picochat: `SPECIAL_TOKENS[k]` has
the id `vocab_size - 16 + k`. Only `picochat.tokenizer.conversation` places them; text never becomes one.
"""

SPECIAL_TOKENS: tuple[str, ...] = (
    "<|bos|>",
    "<|user_start|>",
    "<|user_end|>",
    "<|assistant_start|>",
    "<|assistant_end|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|output_start|>",
    "<|output_end|>",
    "<|think_start|>",
    "<|think_end|>",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "<|tool_result_start|>",
    "<|tool_result_end|>",
    "<|pad|>",
)

NUM_SPECIAL = len(SPECIAL_TOKENS)
