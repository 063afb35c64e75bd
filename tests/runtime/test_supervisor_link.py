"""The link to the supervisor: every request is answered in the end, or it is known that the mesh is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from dispatch_bench import play
from ray.exceptions import ActorUnavailableError

from schedulemesh.core.errors import InvalidRequestError
from schedulemesh.core.messages import Reply, Status, decode_request, encode_reply
from schedulemesh.runtime import supervisor_link as module
from schedulemesh.runtime.supervisor_link import GONE_S, SupervisorGoneError, SupervisorLink

AWAY = ActorUnavailableError("restarting", b"\x01" * 16)


class Supervisor:
    """What Ray and the supervisor answer, one after the other; the last one stays. None: no answer ever comes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[Exception | None] = [None]
        self.answers: list[Reply | Exception | None] = [Reply(result={"ok": True})]
        self.asked: list[bytes] = []
        self.looked_up = 0
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(**{**vars(asyncio), "to_thread": self._on_this_thread}))
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time()))
        monkeypatch.setattr(ray, "get_actor", self._get_actor)

    async def _on_this_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    def _get_actor(self, mesh: str, namespace: str) -> Any:
        assert (mesh, namespace) == ("mesh", "ns")
        self.looked_up += 1
        outcome = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if outcome is not None:
            raise outcome
        return SimpleNamespace(call=SimpleNamespace(remote=self._call))

    async def _call(self, payload: bytes) -> bytes:
        self.asked.append(payload)
        outcome = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if outcome is None:
            await asyncio.Event().wait()
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Reply)
        return encode_reply(outcome)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    return Supervisor(monkeypatch)


def linked(scenario: Callable[[SupervisorLink], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await scenario(SupervisorLink("mesh", "ns"))

    return play(main())


def test_the_supervisor_is_looked_up_once_and_asked_by_its_handle(supervisor: Supervisor) -> None:
    async def scenario(link: SupervisorLink) -> list[Reply]:
        return [await link.ask(Status()) for _ in range(3)]

    assert linked(scenario) == [Reply(result={"ok": True})] * 3
    assert supervisor.looked_up == 1


def test_a_refusal_is_an_answer(supervisor: Supervisor) -> None:
    refused = Reply.refused(InvalidRequestError(field="lease", problem="is not held"))
    supervisor.answers = [refused]
    assert linked(lambda link: link.ask(Status())) == refused
    assert len(supervisor.asked) == 1


def test_while_the_supervisor_restarts_the_same_request_is_sent_again(supervisor: Supervisor) -> None:
    supervisor.answers = [AWAY, AWAY, Reply(result={"ok": True})]
    assert linked(lambda link: link.ask(Status())) == Reply(result={"ok": True})
    assert len(supervisor.asked) == 3
    assert len(set(supervisor.asked)) == 1
    assert supervisor.looked_up == 3, "its handle may be that of a mesh that was stopped"


def test_two_requests_are_told_apart(supervisor: Supervisor) -> None:
    async def scenario(link: SupervisorLink) -> None:
        await link.ask(Status())
        await link.ask(Status())

    linked(scenario)
    assert len({decode_request(payload).request_id for payload in supervisor.asked}) == 2


def test_an_answer_that_never_comes_is_not_waited_for_for_ever(supervisor: Supervisor) -> None:
    supervisor.answers = [None, Reply(result={"ok": True})]
    assert linked(lambda link: link.ask(Status())) == Reply(result={"ok": True})


def test_a_mesh_without_a_supervisor_for_a_moment_is_not_gone(supervisor: Supervisor) -> None:
    """Ray may give the name back a moment before the next one has it."""
    supervisor.found = [ValueError("no such actor")] * 10 + [None]
    assert linked(lambda link: link.ask(Status())) == Reply(result={"ok": True})


def test_a_mesh_without_a_supervisor_for_long_is_gone(supervisor: Supervisor) -> None:
    supervisor.found = [ValueError("no such actor")]

    async def scenario(link: SupervisorLink) -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(SupervisorGoneError):
            await link.ask(Status())
        return asyncio.get_running_loop().time() - began

    assert linked(scenario) == pytest.approx(GONE_S, abs=0.5)


def test_moments_without_a_supervisor_do_not_add_up(supervisor: Supervisor) -> None:
    missing: list[Exception | None] = [ValueError("no such actor")] * 30
    supervisor.found = [*missing, None, *missing, None, *missing, None]
    supervisor.answers = [AWAY, AWAY, Reply(result={"ok": True})]
    assert linked(lambda link: link.ask(Status())) == Reply(result={"ok": True})
