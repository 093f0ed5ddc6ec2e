"""The built-in world: a small English valley, written by a seeded generator, so all works offline."""
