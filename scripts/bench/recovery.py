"""Row 9: SIGKILL of the supervisor. How soon it answers again from whole books, and what its agents notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from harness.probes import Bare
from harness.processes import kill
from harness.records import NOTE, POOL, StubMesh
from harness.rounds import interleave
from harness.rows import Row, at_most, count_row, ratio_row
from harness.sides import Ours
from harness.subject import Part, Stage, main
from harness.waiting import wait_until
from ray.exceptions import RayError

SUBJECT = "SIGKILL of the supervisor"
_BACK_S = 120.0


def recover(stage: Stage) -> list[Row]:
    return [*_first_answer(stage), _failed_calls(stage)]


def _first_answer(stage: Stage) -> list[Row]:
    records = stage.size(10_000, 500)
    mesh = StubMesh("bench-recovery", records)
    remote: Any = ray.remote
    bare = (
        remote(Bare)
        .options(name="bare", lifetime="detached", num_cpus=0, max_restarts=-1, max_task_retries=-1)
        .remote()
    )

    def knows_all() -> bool:
        pool = mesh.scheduler.get_pool(POOL)["pool"]
        return pool["agents"] == records and pool["used_resources"]["cpu"] == records / 100

    def answers() -> bool:
        ray.get(bare.ping.remote())
        return True

    taken = interleave(
        SUBJECT,
        {
            "ours": lambda _: _killed(stage, mesh.pid, knows_all),
            "bare": lambda _: _killed(stage, ray.get(bare.pid.remote()), answers),
        },
        rounds=stage.rounds(24),
    )
    mesh.end()
    ray.kill(bare, no_restart=True)
    pairs = list(zip(taken["ours"], taken["bare"], strict=True))
    subject = f"{SUBJECT} with {records:,} records, to the first correct answer"
    rival = "bare detached actor"
    return [ratio_row(9, subject, pairs, unit="s", rival=rival, target=at_most(1.25), note=NOTE)]


def _killed(stage: Stage, pid: int, correct: Callable[[], bool]) -> float:
    """Seconds from the kill until what is asked is answered correctly; that it fails until then is no answer."""
    stage.cluster.await_no_spare_worker()
    kill(pid)
    began = time.perf_counter()
    while True:
        try:
            if correct():
                return time.perf_counter() - began
        except RayError:
            if time.perf_counter() - began > _BACK_S:
                raise


def _failed_calls(stage: Stage) -> Row:
    """A real supervisor this time, with a real agent that is called without a pause while it is killed."""
    ours = Ours("bench-recovery-calls")
    (agent,) = ours.create(["called"])
    ray.get(agent.ping.remote())
    caller = _Caller(agent)
    kills = stage.size(5, 1)
    for _ in range(kills):
        pid = ours.scheduler.status()["pid"]
        before = caller.calls
        kill(pid)
        wait_until("the supervisor is back", lambda pid=pid: ours.scheduler.status()["pid"] != pid)  # type: ignore[misc]
        wait_until("the agent was called", lambda before=before: caller.calls > before)  # type: ignore[misc]
    caller.stop()
    ours.scheduler.stop(force=True)
    note = f"{caller.calls:,} calls during {kills} kills of a real supervisor"
    subject = f"{SUBJECT}: failed calls to its agents meanwhile"
    return count_row(9, subject, caller.failures, target=at_most(0), note=note)


class _Caller:
    """Calls an agent from a thread, one call after another."""

    def __init__(self, agent: Any) -> None:
        self.calls = 0
        self.failures = 0
        self._agent = agent
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        call = self._agent.ping.options(max_task_retries=0)  # a failure must not be hidden by a retry
        while not self._stopped.is_set():
            try:
                ray.get(call.remote(), timeout=10.0)
            except RayError:
                self.failures += 1
            self.calls += 1


PARTS = (Part(9, SUBJECT, recover),)

if __name__ == "__main__":
    main(*PARTS, log_to_driver=False)
