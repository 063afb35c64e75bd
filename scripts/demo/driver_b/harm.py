"""Driver B again: kills an agent's process and the supervisor's, asks for too much, and deletes everything."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import ray

import schedulemesh

_BACK_S = 30.0
_LOOK_S = 0.02


class OneTooMany(schedulemesh.AgentActor):
    """Never started: there is no room for it."""


class Caller:
    """A thread that calls the agents without a pause, and counts."""

    def __init__(self, handles: list[Any]) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self.slowest_s = 0.0
        self._handles = handles
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._enough.is_set():
            for handle in self._handles:
                began = time.monotonic()
                try:
                    ray.get(handle.about.remote(), timeout=_BACK_S)
                    self.answered += 1
                except Exception as error:  # noqa: BLE001 - whatever it is, it counts as a call that failed
                    self.failed.append(f"{type(error).__name__}: {error}")
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)


def main() -> None:
    ray.init(logging_level=logging.WARNING)
    scheduler = schedulemesh.connect(start=False)
    kill_an_agent(scheduler)
    kill_the_supervisor(scheduler)
    ask_for_one_too_many(scheduler)
    delete_everything(scheduler)


def kill_an_agent(scheduler: schedulemesh.Scheduler) -> None:
    victim = agent_of(scheduler, "index-1")
    kept = ray.get(victim["handle"].about.remote())
    os.kill(kept["pid"], signal.SIGKILL)
    began = time.monotonic()
    print(f"index-1: SIGKILL to pid {kept['pid']}")
    wait_for("a restart", lambda: agent_of(scheduler, "index-1")["state"] == "restarting")
    used = scheduler.get_pool("index")["pool"]["used_resources"]["cpu"]
    print(
        f"index-1: restarting, seen after {time.monotonic() - began:.2f} s; its capacity stays held (cpu={used:g} used)"
    )
    wait_for("the agent", lambda: agent_of(scheduler, "index-1")["state"] == "running")
    back = agent_of(scheduler, "index-1")
    about = ray.get(back["handle"].about.remote(), timeout=_BACK_S)
    whole = about["words"] == kept["words"]
    print(
        f"index-1: {back['state']} after {time.monotonic() - began:.1f} s, restarts {back['restarts']}, "
        f"pid {about['pid']}, index {'rebuilt whole' if whole else 'NOT whole'}"
    )
    check(whole and back["restarts"] == 1, "the agent came back other than it was")


def kill_the_supervisor(scheduler: schedulemesh.Scheduler) -> None:
    before = books(scheduler)
    handles = [agent["handle"] for agent in scheduler.list_agents("index")["agents"]]
    pid = scheduler.status()["pid"]
    caller = Caller(handles)
    caller.start()
    try:
        wait_for("the first answers", lambda: caller.answered >= len(handles))
        os.kill(pid, signal.SIGKILL)
        began, earlier = time.monotonic(), caller.answered
        print(f"supervisor: SIGKILL to pid {pid}")
        wait_for("the supervisor", lambda: scheduler.status()["pid"] != pid)
        wait_for("its books", lambda: scheduler.status()["agents"]["recovering"] == 0)
        back_s, answered = time.monotonic() - began, caller.answered - earlier
    finally:
        caller.stop()
    after = books(scheduler)
    print(f"supervisor: back after {back_s:.1f} s, pid {scheduler.status()['pid']}")
    print(
        f"agents answered {answered:,} calls meanwhile, {len(caller.failed)} failed, "
        f"the slowest took {caller.slowest_s * 1000:.0f} ms"
    )
    same = "the same" if before == after else "NOT the same"
    print(f"books {same}: {len(after['agents'])} agents, {len(after['pools'])} pool")
    check(not caller.failed, f"a call failed: {caller.failed[:1]}")
    check(answered > 0, "no call was answered while the supervisor was down")
    check(before == after, f"the books differ: {before} {after}")


def ask_for_one_too_many(scheduler: schedulemesh.Scheduler) -> None:
    try:
        scheduler.create_agent("index-3", "index", OneTooMany)
    except schedulemesh.InsufficientPoolCapacityError as error:
        print(f"refused: {error}")
    else:
        check(False, "one agent too many was let in")


def delete_everything(scheduler: schedulemesh.Scheduler) -> None:
    scheduler.stop(force=True)
    left = ray.util.list_named_actors(all_namespaces=True)
    print(f"deleted: {len(left)} actors left in the cluster")
    check(not left, f"left: {left}")


def agent_of(scheduler: schedulemesh.Scheduler, name: str) -> schedulemesh.AgentInfo:
    return scheduler.get_agent(name)["agent"]


def books(scheduler: schedulemesh.Scheduler) -> dict[str, Any]:
    """All that the mesh knows, but for the handles, which are this process's."""
    agents = [{**agent, "handle": None} for agent in scheduler.list_agents()["agents"]]
    return {
        "pools": scheduler.list_pools()["pools"],
        "agents": sorted(agents, key=lambda agent: str(agent["name"])),
        "committed": scheduler.status()["committed"],
    }


def wait_for(what: str, reached: Callable[[], bool]) -> None:
    until = time.monotonic() + _BACK_S
    while not reached():
        check(time.monotonic() < until, f"{what} did not come within {_BACK_S:g} s")
        time.sleep(_LOOK_S)


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(f"the demo failed: {otherwise}")


if __name__ == "__main__":
    main()
