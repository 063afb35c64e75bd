"""The class loader: each class is loaded once, what fails is tried again, and an import that hangs is not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from dispatch_bench import moment, play

from schedulemesh.runtime import class_loader
from schedulemesh.runtime.agent_class import UnmadeError
from schedulemesh.runtime.class_loader import STUCK_S, ClassLoader


class Main:
    """The process's main thread: it loads when a test lets it, with `load` in place of unpickling a class."""

    def __init__(self) -> None:
        self.classes = ClassLoader(self.call, lambda: self.restarts.append(asyncio.get_running_loop().time()))
        self.restarts: list[float] = []
        self.called: list[str] = []
        self.free = asyncio.Event()
        self.problem: Exception | None = None

    async def call(self, class_key: str) -> None:
        self.called.append(class_key)
        await self.free.wait()
        if self.problem is not None:
            raise self.problem
        self.classes.load(class_key)

    def get(self, key: str = "k", given_up: asyncio.Event | None = None) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.classes.get(key, b"blob", None, given_up or asyncio.Event()))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each load comes to, one after the other; an exception is raised."""
    outcomes: list[Any] = []

    def load(blob: bytes, groups: dict[str, int] | None) -> Any:
        assert (blob, groups) == (b"blob", None)
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(class_loader, "load", load)
    return outcomes


def on_main(scenario: Callable[[Main], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Main())

    play(main())


def test_a_class_is_loaded_once_for_all_that_want_it(loads: list[Any]) -> None:
    loads.append(int)

    async def scenario(main: Main) -> None:
        early = [main.get() for _ in range(3)]
        await moment()
        main.free.set()
        assert [await one for one in early] == [int] * 3
        assert await main.get() is int
        assert main.called == ["k"]

    on_main(scenario)


def test_what_does_not_load_fails_all_that_waited_and_is_loaded_again_for_the_next(loads: list[Any]) -> None:
    loads += [UnmadeError("no module"), int]

    async def scenario(main: Main) -> None:
        early = [main.get() for _ in range(2)]
        main.free.set()
        for one in early:
            with pytest.raises(UnmadeError, match="no module"):
                await one
        assert await main.get() is int

    on_main(scenario)


def test_a_main_thread_that_cannot_be_called_is_called_again_for_the_next(loads: list[Any]) -> None:
    loads.append(int)

    async def scenario(main: Main) -> None:
        main.free.set()
        main.problem = ConnectionError("it does not answer")
        with pytest.raises(ConnectionError):
            await main.get()
        main.problem = None
        assert await main.get() is int

    on_main(scenario)


def test_a_launch_that_is_given_up_does_not_wait_for_its_class(loads: list[Any]) -> None:
    loads.append(int)

    async def scenario(main: Main) -> None:
        given_up = asyncio.Event()
        waits, gives_up = main.get(), main.get(given_up=given_up)
        await moment()
        given_up.set()
        with pytest.raises(UnmadeError, match="deleted while its class was being loaded"):
            await gives_up
        main.free.set()
        assert await waits is int

    on_main(scenario)


async def gave_up(main: Main) -> None:
    given_up = asyncio.Event()
    one = main.get(given_up=given_up)
    await moment()
    given_up.set()
    with pytest.raises(UnmadeError):
        await one


def test_an_import_that_hangs_and_that_nobody_waits_for_restarts_the_process(loads: list[Any]) -> None:
    async def scenario(main: Main) -> None:
        await gave_up(main)
        await asyncio.sleep(STUCK_S - 1)
        assert main.restarts == []
        await asyncio.sleep(2)
        assert len(main.restarts) == 1

    on_main(scenario)


def test_an_import_that_another_launch_waits_for_is_left_alone(loads: list[Any]) -> None:
    async def scenario(main: Main) -> None:
        main.get()
        await gave_up(main)
        await asyncio.sleep(10 * STUCK_S)
        assert main.restarts == []

    on_main(scenario)


def test_an_import_that_ends_in_time_restarts_nothing(loads: list[Any]) -> None:
    loads.append(int)

    async def scenario(main: Main) -> None:
        await gave_up(main)
        main.free.set()
        await asyncio.sleep(10 * STUCK_S)
        assert main.restarts == []

    on_main(scenario)


def test_a_bounded_number_of_classes_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_loader, "MAX_CLASSES", 2)
    monkeypatch.setattr(class_loader, "load", lambda blob, _: type(blob.decode(), (), {}))

    async def load_many() -> int:
        async def on_main(class_key: str) -> None:
            loader.load(class_key)

        loader = ClassLoader(on_main, lambda: None)
        never = asyncio.Event()
        for name in (f"Class{number}" for number in range(10)):
            loaded = await loader.get(name, name.encode(), None, never)
            assert loaded.__name__ == name
            assert await loader.get(name, name.encode(), None, never) is loaded, "it is not loaded twice"
        return len(loader._loaded)

    assert asyncio.run(load_many()) <= class_loader.MAX_CLASSES + 1
