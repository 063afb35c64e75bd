"""The GCS killed, a node lost, the head replaced, on a real cluster with Redis: nothing lost, no call disturbed."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from durable_cluster import DurableCluster
from prompt import DriverError, Prompt
from raycluster import eventually, processes_of

pytestmark = pytest.mark.redis

PREAMBLE = """
import os, threading, time
from concurrent.futures import ThreadPoolExecutor
import ray, schedulemesh
from schedulemesh import AgentActor

class Plain(AgentActor):
    def who(self):
        return os.getpid()

    def say(self, text):
        print(text, flush=True)

class Caller(AgentActor):
    '''Calls another agent without pause, and keeps count.'''

    def watch(self, handle):
        self.answered, self.failed, self.leaving = 0, [], threading.Event()
        self.thread = threading.Thread(target=self.call, args=[handle])
        self.thread.start()

    def call(self, handle):
        while not self.leaving.is_set():
            try:
                ray.get(handle.who.remote(), timeout=30)
                self.answered += 1
            except Exception as error:
                self.failed.append(repr(error))

    def tally(self):
        return self.answered, self.failed

    def on_stop(self):
        self.leaving.set()
        self.thread.join()

def make(name, node, cls=Plain, **options):
    options = {"max_concurrency": 4, **options}
    agent = mesh.create_agent(name, "p", cls, resources={"cpu": 0.1, node: 0.1}, ray_options=options)["agent"]
    return agent["state"]

from schedulemesh.core import messages

def info(name):
    agent = mesh.get_agent(name)["agent"]
    return {key: agent[key] for key in ("state", "node_id", "pid", "restarts", "cause", "actor_id")}

def ask(name, method, *args):
    return ray.get(getattr(mesh.get_agent(name)["agent"]["handle"], method).remote(*args), timeout=60)

def at_once(*asks):
    with ThreadPoolExecutor(len(asks)) as threads:
        return [asked.result() for asked in [threads.submit(ask) for ask in asks]]

def keys(mesh_name):
    from ray.experimental.internal_kv import _internal_kv_list
    return len(_internal_kv_list(b"", namespace=f"schedulemesh/schedulemesh/{mesh_name}".encode()))

ray.init(log_to_driver=False)
"""
POOL = "mesh.create_pool('p', resources={'cpu': 4, 'left': 1, 'right': 1}, overcommit=True)"


@pytest.fixture(scope="module")
def durable() -> Iterator[DurableCluster]:
    folder = Path(tempfile.mkdtemp(prefix="sm", dir="/tmp"))
    cluster = DurableCluster(folder)
    try:
        cluster.start()
        cluster.add_worker("left")
        cluster.add_worker("right")
        yield cluster
    finally:
        cluster.stop()
        gone = eventually(lambda: not processes_of(folder))
        shutil.rmtree(folder, ignore_errors=True)
        assert gone, f"processes were left behind: {processes_of(folder)}"


@pytest.fixture(scope="module")
def watched(durable: DurableCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prompt]:
    """A driver whose mesh has agents `left` and `right`, each on its node, and one that calls `right` without pause.

    The tests are stations of one mesh's life, in the order in which they stand here. Calls that fail are counted from
    the first to the last.
    """
    driver = Prompt(tmp_path_factory.mktemp("driver"), durable.env, PREAMBLE)
    driver.tell("mesh = schedulemesh.connect()")
    driver.tell(POOL)
    driver.tell("make('left', 'left'), make('right', 'right'), make('caller', 'right', Caller)")
    driver.tell("caller, right = (mesh.get_agent(name)['agent']['handle'] for name in ('caller', 'right'))")
    driver.tell("ray.get(caller.watch.remote(right))")
    assert eventually(lambda: tally(driver)[0] > 10)
    yield driver
    driver.close()


def tally(prompt: Prompt) -> Any:
    return prompt.tell("ask('caller', 'tally')")


def used(prompt: Prompt) -> Any:
    return prompt.tell("mesh.get_pool('p')['pool']['used_resources']['cpu']")


def test_a_gcs_restart_disturbs_no_call_and_what_was_asked_meanwhile_is_done(
    durable: DurableCluster, watched: Prompt, tmp_path: Path
) -> None:
    supervisor = watched.tell("mesh.status()['pid']")
    watched.tell("make('unseen', 'left')")
    unseen = watched.tell("info('unseen')['pid']")
    asking = Prompt(tmp_path / "asking", durable.env, PREAMBLE)
    asking.tell("mesh = schedulemesh.connect()")
    asking.tell("ask('right', 'who')")
    before = tally(watched)[0]

    durable.kill_gcs()
    assert watched.tell("mesh.get_pool('p')['pool']['agents']") == 4, "the books are still there to be read"
    # `caller` is of a class that it has not had before.
    asking.begin("at_once(lambda: make('new', 'left'), lambda: info('caller')['state'])")
    assert eventually(lambda: watched.tell("ray.get(caller.tally.remote())")[0] > before + 100)
    writes = "messages.CreatePool('late', {}, {'cpu': 0.1}, 0, False)"
    with pytest.raises(DriverError, match=r"SupervisorUnavailableError: .* gave no answer within 2 s"):
        watched.tell(f"mesh._connection.ask({writes}, timeout_s=2)")
    os.kill(unseen, signal.SIGKILL)  # nobody can say so
    durable.start_gcs()

    assert asking.answer() == ["running", "running"]
    assert watched.tell("mesh.get_pool('late')['pool']['state']") == "active", "it was done once the GCS was back"
    watched.tell("mesh.delete_pool('late')")
    asking.close()
    assert tally(watched)[1] == []
    assert watched.tell("mesh.status()['pid']") == supervisor
    assert used(watched) == pytest.approx(0.5)
    assert eventually(lambda: watched.tell("info('unseen')['restarts']") == 1, timeout_s=60), "what was missed is read"
    assert eventually(lambda: watched.tell("info('unseen')['state']") == "running")

    watched.tell("os.kill(info('left')['pid'], 9)")
    # Far less than the 30 s after which the whole table is read in any case.
    pushed = eventually(lambda: watched.tell("info('left')['restarts']") == 1, timeout_s=10)
    assert pushed, "news reach the mesh again"
    assert eventually(lambda: watched.tell("info('left')['state']") == "running")
    for name in ("unseen", "new"):
        assert watched.tell(f"mesh.delete_agent({name!r})['agent']['state']") == "stopped"
    assert used(watched) == pytest.approx(0.3)


def test_a_lost_node_restarts_or_fails_its_agents_and_is_named(durable: DurableCluster, watched: Prompt) -> None:
    supervisor = watched.tell("mesh.status()['pid']")
    watched.tell("make('mortal', 'left', max_restarts=0)")
    node = watched.tell("info('left')['node_id']")
    pid = watched.tell("info('left')['pid']")
    assert used(watched) == pytest.approx(0.4)

    durable.kill_worker("left")
    assert eventually(lambda: watched.tell("info('mortal')['state']") == "failed", timeout_s=60)
    assert node in watched.tell("info('mortal')['cause']")
    assert eventually(lambda: watched.tell("info('left')['state']") == "restarting")
    left = watched.tell("info('left')")
    assert node in left["cause"]
    assert str(pid) in left["cause"]
    assert (left["node_id"], left["pid"]) == (None, None)
    assert used(watched) == pytest.approx(0.3), "held for the one that Ray will start again, back for the other"

    durable.add_worker("left")
    assert eventually(lambda: watched.tell("info('left')['state']") == "running", timeout_s=60)
    assert watched.tell("info('left')['node_id']") not in (None, node)
    assert watched.tell("make('mortal', 'left')") == "running"
    assert used(watched) == pytest.approx(0.4)
    assert tally(watched)[1] == []
    assert watched.tell("mesh.status()['pid']") == supervisor
    assert watched.tell("mesh.delete_agent('mortal')['agent']['state']") == "stopped"


def test_a_replaced_head_finds_all_agents_living_and_no_call_disturbed(
    durable: DurableCluster, watched: Prompt, tmp_path: Path
) -> None:
    before = {name: watched.tell(f"info({name!r})") for name in ("left", "right", "caller")}
    supervisor = watched.tell("mesh.status()['pid']")
    watched.close()  # a driver lives on a node, and this one's is about to be lost

    durable.kill_head()
    durable.start_head()
    late = Prompt(tmp_path / "late", durable.env, PREAMBLE)
    try:
        late.tell("mesh = schedulemesh.connect(start=False)")
        assert late.tell("mesh.status()['pid']") != supervisor
        assert eventually(lambda: {late.tell(f"info({name!r})['state']") for name in before} == {"running"})
        for name, was in before.items():
            assert late.tell(f"info({name!r})") == was
        answered, failed = tally(late)
        assert failed == []
        assert eventually(lambda: tally(late)[0] > answered + 10)
        assert used(late) == pytest.approx(0.3)
        assert late.tell("make('new', 'left')") == "running"
        assert late.tell("mesh.delete_agent('new')['agent']['state']") == "stopped"
        late.tell("mesh.stop(force=True)")
        assert late.tell("keys('schedulemesh-supervisor')") == 0
    finally:
        late.close()
