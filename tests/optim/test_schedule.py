"""The schedule: known values and properties of the factor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.errors import UserError
from picochat.optim.schedule import Schedule


def test_known_values():
    schedule = Schedule(steps=10, warmup=4, warmdown=0.5)
    assert [schedule.factor(step) for step in range(10)] == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]
    )
    assert [Schedule(steps=4, warmdown=1.0).factor(step) for step in range(4)] == [1, 0.75, 0.5, 0.25]
    assert [Schedule(steps=4, warmdown=0.0).factor(step) for step in range(4)] == [1, 1, 1, 1]
    assert Schedule(steps=4, warmdown=1.0, final=0.5).factor(4) == 0.5


@given(steps=st.integers(1, 200), warmup=st.integers(0, 250), warmdown=st.floats(0, 1), final=st.floats(0, 1))
def test_every_step_learns_and_the_factor_rises_then_falls(steps, warmup, warmdown, final):
    schedule = Schedule(steps=steps, warmup=warmup, warmdown=warmdown, final=final)
    factors = [schedule.factor(step) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert factors[0] == pytest.approx(min(1 / max(warmup, 1), factors[0]))


@pytest.mark.parametrize("bad", [{"steps": 0}, {"warmup": -1}, {"warmdown": 1.5}, {"warmdown": -0.1}])
def test_impossible_schedules_are_refused(bad: dict):
    with pytest.raises(UserError, match=f"--{next(iter(bad))}"):
        Schedule(**{"steps": 10, **bad})
