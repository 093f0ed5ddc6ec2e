"""Optimizers: Muon for the block matrices, AdamW for the rest, one schedule for all."""
