"""Colours of likely and unlikely tokens.

No sign is by colour alone: what was unlikely, or uncertain, is underlined too, and bold where very much so.
"""

import math
from functools import lru_cache
from typing import Literal

from rich.color import Color as RichColor
from rich.style import Style
from textual.color import Color, Gradient

ColourMode = Literal["off", "probability", "entropy"]
MODES: tuple[ColourMode, ...] = ("off", "probability", "entropy")
NUM_LEVELS = 12
MOST_BITS = 8.0
"""Surprise, or entropy, from which on the colour is the strongest."""
UNLIKELY_BITS = -math.log2(0.1)
VERY_UNLIKELY_BITS = -math.log2(0.02)
LEAST_SHARE, MOST_SHARE = 0.16, 0.72
"""How much of the ramp's colour is mixed into the background."""
RAMPS = {
    "blue-orange": ("#2f7fe0", "#7d8db0", "#f08a24"),
    "viridis": ("#3b528b", "#21918c", "#fde725"),
    "green-red": ("#2e9e5b", "#b9a83c", "#e0413a"),
}
"""The first two are told apart by every kind of eye."""
ANSI_RAMP = ("blue", "cyan", "default", "yellow", "red")
"""For terminals with their own sixteen colours."""


def level(bits: float) -> int:
    """Return the step of the ramp for a surprise or an entropy in bits."""
    return min(int(NUM_LEVELS * math.sqrt(max(bits, 0.0) / MOST_BITS)), NUM_LEVELS - 1)


@lru_cache(maxsize=256)
def level_style(step: int, ramp: str, background: str, is_ansi: bool) -> Style:
    """Return the style of a step of a ramp; `background` is the theme's, as #rrggbb."""
    share = step / (NUM_LEVELS - 1)
    if is_ansi:
        name = ANSI_RAMP[round(share * (len(ANSI_RAMP) - 1))]
        return Style(color=RichColor.parse(name))
    colour = Gradient.from_colors(*RAMPS[ramp]).get_color(share)
    # Sure and unsure ends stand out, the middle is quiet.
    strength = LEAST_SHARE + (MOST_SHARE - LEAST_SHARE) * (share if share > 0.5 else 0.5 * (1 - share))
    mixed = Color.parse(background).blend(colour, strength)
    text = mixed.get_contrast_text(1.0)
    return Style(color=text.rich_color, bgcolor=mixed.rich_color)


def doubt_style(bits: float) -> Style:
    """Return the sign of an unlikely token that needs no colour."""
    if bits < UNLIKELY_BITS:
        return Style()
    return Style(underline=True, bold=True) if bits >= VERY_UNLIKELY_BITS else Style(underline=True)
