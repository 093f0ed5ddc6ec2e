"""Reads the keys of a Unix terminal, the escape key without delay. Its import fails on Windows."""

import codecs
import os
import selectors

from textual import constants
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

ESCAPE_SECONDS = 0.01
"""In terminals without the kitty protocol the escape key is one byte, which is also how other keys begin:
it is the escape key when nothing follows for so long. Other keys arrive whole, also over ssh. The environment
variable ESCDELAY, in milliseconds, counts for more.
"""
IDLE_SECONDS = 0.1
"""How often the reading thread looks whether the app ends."""
A_LITTLE = 0.001
"""Longer than the delay: at its end the parser has to find it over."""


class QuickEscapeDriver(LinuxDriver):
    """Tells the escape key as soon as its delay is over; Textual's own looks every tenth of a second only."""

    def run_input_thread(self) -> None:
        """Pass on what is typed until the app ends."""
        if "ESCDELAY" not in os.environ:
            # The parser knows no other way to be told.
            constants.ESCAPE_DELAY = ESCAPE_SECONDS
        parser = XTermParser(self._debug)
        decode = codecs.getincrementaldecoder("utf-8")().decode
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            is_quiet = True
            while not self.exit_event.is_set():
                seconds = IDLE_SECONDS if is_quiet else constants.ESCAPE_DELAY + A_LITTLE
                is_quiet = not selector.select(seconds)
                if not is_quiet:
                    typed = os.read(self.fileno, 4096)
                    if not typed:  # nobody is left to type
                        return
                    # Half a character is no text yet, and no text would mean the end to the parser.
                    for message in parser.feed(text) if (text := decode(typed)) else ():
                        self.process_message(message)
                for message in parser.tick():
                    self.process_message(message)
