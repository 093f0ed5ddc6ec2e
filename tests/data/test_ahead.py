"""A batch that is drawn before its turn is the one that would have come."""

from typing import Any

import pytest
import torch

from picochat.data.ahead import Ahead
from picochat.data.batch import Batch, peek
from picochat.errors import UserError


class Counted:
    """Batches of the numbers from 0 on; at `broken` there is none."""

    def __init__(self, broken: int = -1) -> None:
        self.number, self.batch_size, self.broken = 0, 2, broken

    def __next__(self) -> Batch:
        self.number += 1
        if self.number - 1 == self.broken:
            raise UserError("the file is gone")
        ids_BT = torch.full((self.batch_size, 3), self.number - 1)
        return Batch(ids_BT=ids_BT, targets_BT=ids_BT, stats={"number": float(self.number)})

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.number = state["number"]


@pytest.fixture
def source() -> Ahead:
    return Ahead(Counted(), pins=False)


def test_the_batches_are_those_of_the_source(source: Ahead):
    seen = []
    for index in range(6):
        if index % 3:
            source.draw()
            source.draw()
        assert source.state_dict() == {"number": index}
        seen.append(int(next(source).ids_BT[0, 0]))
    assert seen == list(range(6))


def test_a_saved_position_does_not_depend_on_what_is_drawn(source: Ahead):
    next(source)
    source.draw()
    saved = source.state_dict()
    assert int(peek(source).ids_BT[0, 0]) == int(next(source).ids_BT[0, 0]) == 1
    source.draw()
    source.load_state_dict(saved)
    assert int(next(source).ids_BT[0, 0]) == 1


def test_another_batch_size_holds_for_what_is_drawn_too(source: Ahead):
    source.draw()
    source.batch_size = 5
    assert source.batch_size == 5
    batch = next(source)
    assert batch.ids_BT.shape == (5, 3)
    assert int(batch.ids_BT[0, 0]) == 0


def test_an_error_of_the_data_waits_for_its_turn():
    source = Ahead(Counted(broken=1), pins=False)
    next(source)
    source.draw()
    assert source.state_dict() == {"number": 1}
    with pytest.raises(UserError, match="gone"):
        next(source)
