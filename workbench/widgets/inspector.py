"""The token under the cursor, and what else could have stood there."""

import math

from rich.text import Text
from textual.widgets import Static

from picochat.engine.protocol import TokenInfo
from workbench.visible import visible

BAR = 20


class Inspector(Static):
    """One line for the token, one for each alternative."""

    def show(self, token: TokenInfo, index: int) -> None:
        """Show a token of an answer."""
        head = f"token {index}  {_quote(token.label)}  id {token.id}  "
        fact = "put there by the engine" if token.forced else f"p {math.exp(token.logprob):.3f}"
        text = Text.assemble((head, "bold"), fact)
        for number, other in enumerate(token.alternatives, 1):
            probability = math.exp(other.logprob)
            bar = "━" * max(1, round(BAR * probability))
            mark = "●" if other.id == token.id else " "
            text.append(f"\n{mark}{number} {_quote(other.label):<16.16} {probability:6.3f} ")
            text.append(bar, "cyan")
        if token.alternatives:
            text.append("   1-5: put it there and go on", "dim")
        self.update(text)


def _quote(label: str) -> str:
    return f"'{visible(label.replace(chr(10), '⏎'))}'"
