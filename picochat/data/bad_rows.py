"""What to do with a row that can not be read: stop there, or leave it out and count it."""

from typing import Literal

from picochat.errors import UserError

OnBadRow = Literal["stop", "skip"]


class BadRows:
    """The bad rows of one reading.

    Readers take it where they take `"stop"` or `"skip"`, so that a caller who wants the count keeps it:

        bad_rows = BadRows("skip")
        texts = list(iter_texts(paths, on_bad_row=bad_rows))
        print(bad_rows.summary())
    """

    def __init__(self, on_bad_row: OnBadRow) -> None:
        self.on_bad_row: OnBadRow = on_bad_row
        self.count = 0
        self.first = ""
        """The message of the first bad row; empty when there was none."""

    @classmethod
    def of(cls, on_bad_row: "OnBadRow | BadRows") -> "BadRows":
        """Return `on_bad_row` itself when it is a `BadRows`, else a new one of that kind."""
        return on_bad_row if isinstance(on_bad_row, BadRows) else cls(on_bad_row)

    def add(self, message: str) -> None:
        """Count one bad row; `message` begins with its `file:line`.

        Raises:
            UserError: the message, if bad rows are to stop the reading.
        """
        if self.on_bad_row == "stop":
            raise UserError(f"{message} (mend the row, or leave such rows out with --on-bad-row skip)")
        self.count += 1
        self.first = self.first or message

    def summary(self) -> str:
        """Return one line that says how many rows were left out, or an empty string."""
        if self.count == 0:
            return ""
        return f"{self.count} bad row{'s' if self.count > 1 else ''} left out; the first: {self.first}"
