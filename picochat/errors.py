"""The one exception that means "the user can mend this": the command line prints it as one line."""


class UserError(ValueError):
    """A mistake in what the user gave.

    The message says what is wrong, where (a path, a `file:line`, an option) and how to mend it, in one line.
    """
