"""The terminal app: chat with what was trained and look inside it. Imports no torch."""
