"""The terminal app: chat with what was trained and look inside it. Imports no torch."""

import os

# Textual reads it when it is imported. Terminals without the kitty protocol send one byte for the escape key,
# which is also how other keys begin: it is the escape key when nothing follows for so long. Other keys arrive
# whole, also over ssh.
os.environ.setdefault("ESCDELAY", "10")
