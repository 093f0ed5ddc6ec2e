"""Ways in and out for the users of other tools."""
