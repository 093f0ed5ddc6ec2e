"""Fused operations, each beside the plain PyTorch twin that says what it computes."""
