"""Names that agents made by version 0.1 refer to in Ray's function table, and what a class may raise on loading."""

from __future__ import annotations

import pickle

import pytest

from schedulemesh.core import launch_protocol
from schedulemesh.runtime import agent_class
from schedulemesh.runtime.agent_class import UnmadeError, load
from schedulemesh.supervisor import agent_class as of_0_1


@pytest.mark.parametrize("name", ["STOP", "UnmadeError", "_hook", "_stop_on_a_loop", "_stop_on_a_thread"])
def test_what_agents_of_0_1_refer_to_is_found_under_its_old_name(name: str) -> None:
    assert getattr(of_0_1, name) is getattr(agent_class, name)


def test_both_sides_say_the_same_of_a_class_that_does_not_load() -> None:
    assert agent_class.UNLOADED == launch_protocol.UNLOADED


class Leaves:
    """Ends the process that unpickles it, if it can."""

    def __reduce__(self) -> tuple[type[SystemExit], tuple[int]]:
        return raise_exit, (3,)  # type: ignore[return-value]


def raise_exit(code: int) -> None:
    raise SystemExit(code)


@pytest.mark.parametrize("blob", [b"no pickle", pickle.dumps(Leaves())], ids=["garbage", "exit"])
def test_whatever_loading_raises_is_told_with_its_traceback(blob: bytes) -> None:
    with pytest.raises(UnmadeError) as caught:
        load(blob, None)
    assert str(caught.value).startswith(launch_protocol.UNLOADED)
    assert "Traceback" in str(caught.value)
