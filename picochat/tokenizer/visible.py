"""Tokens for the eye."""

_SIGNS = str.maketrans({" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"})


def visible(token: bytes) -> str:
    """A token for the eye: spaces and line ends as signs, control and split characters as codes."""
    text = token.decode(errors="backslashreplace").translate(_SIGNS)
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
