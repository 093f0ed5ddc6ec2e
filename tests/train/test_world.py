"""What a rank makes of faults while it speaks with its peers. (Real ranks: test_distributed.py.)"""

import pytest
import torch
import torch.distributed as dist

from picochat.train.world import PeerLostError, World


def fail_with(error: Exception):
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_broken_connection_says_why(monkeypatch):
    monkeypatch.setattr(dist, "all_reduce", fail_with(RuntimeError("Connection closed\nby peer")))
    with pytest.raises(PeerLostError, match=r"has ended \(Connection closed by peer\)"):
        World(0, 2).sum_(torch.zeros(1))


def test_a_rank_without_room_has_not_lost_a_peer(monkeypatch):
    monkeypatch.setattr(dist, "all_reduce", fail_with(torch.OutOfMemoryError("2 GiB")))
    with pytest.raises(torch.OutOfMemoryError):
        World(0, 2).sum_(torch.zeros(1))


def test_a_fault_of_this_rank_between_two_gatherings_is_told_as_it_is(monkeypatch):
    """The rows of a peer are said to be more than there can be room for."""

    def gather(gathered: list[torch.Tensor], own: torch.Tensor) -> None:
        gathered[1].fill_(2**62)

    monkeypatch.setattr(dist, "all_gather", gather)
    with pytest.raises(RuntimeError) as raised:
        World(0, 2).all_rows(torch.zeros(1, 8))
    assert not isinstance(raised.value, PeerLostError)
