"""Capacity on a real cluster: booked exactly, refused clearly, back when the end was seen, and never promised twice."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import ray
from drivers import MESH, DriverRunner
from rayview import exports, living_actors, row_of

import schedulemesh
from schedulemesh import AgentActor, InsufficientPoolCapacityError, Scheduler

ONE_AT_A_TIME = {"max_concurrency": 1}
"""For many agents: the default starts a thousand threads for each, and a machine has some 32,000 in all."""


class Plain(AgentActor):
    pass


def test_the_third_fpga_agent_is_refused_and_fits_after_a_delete(scheduler: Scheduler) -> None:
    size = {"cpu": 2.0, "memory": 4096.0, "gpu": 0.0, "fpga": 1.0}
    scheduler.create_pool("fpga-pool", labels={"hardware": "fpga"}, resources=size, target_agents=2)
    agents = [scheduler.create_agent(f"f{n}", "fpga-pool", Plain, resources=size)["agent"] for n in range(2)]
    assert dict(row_of(agents[0]).required_resources) == {"CPU": 2.0, "memory": 4096 * 1024**2, "fpga": 1.0}
    with pytest.raises(ValueError, match=r"^Insufficient pool capacity") as refusal:
        scheduler.create_agent("f2", "fpga-pool", Plain, resources=size)
    assert isinstance(refusal.value, InsufficientPoolCapacityError)
    assert "fpga" in refusal.value.short
    assert refusal.value.could_ever_fit
    assert scheduler.get_pool("fpga-pool")["pool"]["available_resources"] == dict.fromkeys(size, 0.0)
    with pytest.raises(schedulemesh.AgentNotFoundError):
        scheduler.get_agent("f2")
    scheduler.delete_agent("f0")
    assert scheduler.get_pool("fpga-pool")["pool"]["available_resources"] == size
    scheduler.create_agent("f2", "fpga-pool", Plain, resources=size)


THIRTY = f"""
import schedulemesh
class Local(schedulemesh.AgentActor):
    pass
def request(name, pool):
    return schedulemesh.AgentRequest(name, pool, Local, {{"cpu": 0.1}}, {ONE_AT_A_TIME})
requests = [request(f"t{{n}}", "tenths") for n in range(11)] + [request(f"m{{n}}", "more-tenths") for n in range(20)]
for reply in schedulemesh.connect({MESH!r}).create_agents(requests):
    print("made" if isinstance(reply, dict) else type(reply).__name__)
"""


def test_ten_tenths_are_exactly_one_and_thirty_agents_of_one_class_leave_one_export(
    scheduler: Scheduler, driver: DriverRunner
) -> None:
    """The class is the script's own, so it travels by value. Ten go into a pool of 1, twenty into one of 2."""
    scheduler.create_pool("tenths", resources={"cpu": 1.0})
    scheduler.create_pool("more-tenths", resources={"cpu": 2.0})
    before = exports()
    told = [line for line in driver.run(THIRTY).splitlines() if " " not in line]
    assert told == ["made"] * 10 + ["InsufficientPoolCapacityError"] + ["made"] * 20
    assert len(exports() - before) == 2, "that of the driver's launcher, and that of the agents"
    assert [free_cpu(scheduler, pool) for pool in ("tenths", "more-tenths")] == [0.0, 0.0]
    assert len(living_actors()) == 30
    for n in range(10):
        scheduler.delete_agent(f"t{n}", force=True)
    assert [free_cpu(scheduler, pool) for pool in ("tenths", "more-tenths")] == [1.0, 0.0]
    assert len(living_actors()) == 20


def free_cpu(scheduler: Scheduler, pool: str) -> float:
    return scheduler.get_pool(pool)["pool"]["available_resources"]["cpu"]


CROWD = """
import ray, schedulemesh
class Racer(schedulemesh.AgentActor):
    pass
ray.init(log_to_driver=False)
print("ready", flush=True)
input()
scheduler = schedulemesh.connect("crowd")
print(scheduler.status()["pid"], flush=True)
if input() == "race":
    won = lost = 0
    for n in range(5):
        try:
            scheduler.create_agent(f"racer-{me}-{{n}}", "race", Racer, ray_options={{"max_concurrency": 1}})
            won += 1
        except schedulemesh.InsufficientPoolCapacityError:
            lost += 1
    print(won, lost)
"""


def test_eight_drivers_get_one_supervisor_and_four_of_them_race_for_five_places(driver: DriverRunner) -> None:
    drivers = [driver.start(CROWD.format(me=me), stdin=True) for me in range(8)]
    assert heard(drivers) == ["ready"] * 8
    tell(drivers, "connect")
    pids = heard(drivers)
    crowd = schedulemesh.connect("crowd", start=False)
    try:
        assert set(pids) == {str(crowd.status()["pid"])}
        crowd.create_pool("race", resources={"cpu": 0.5}, target_agents=5)
        tell(drivers[:4], "race")
        tell(drivers[4:], "leave")
        outcomes = [line.split() for line in heard(drivers[:4])]
        for one in drivers:
            _, errors = one.communicate(timeout=60)
            assert one.returncode == 0, errors
        assert [sum(int(outcome[place]) for outcome in outcomes) for place in (0, 1)] == [5, 15]
        assert crowd.get_pool("race")["pool"]["agents"] == 5
        assert len(living_actors()) == 5
    finally:
        crowd.stop(force=True)


def heard(drivers: list[subprocess.Popen[str]]) -> list[str]:
    """The next line of each."""
    lines = [one.stdout.readline().strip() for one in drivers if one.stdout is not None]
    for one, line in zip(drivers, lines, strict=True):
        assert line, one.communicate(timeout=60)
    return lines


def tell(drivers: list[subprocess.Popen[str]], what: str) -> None:
    for one in drivers:
        assert one.stdin is not None
        one.stdin.write(f"{what}\n")
        one.stdin.flush()


def test_pools_may_not_promise_more_than_the_cluster_has(scheduler: Scheduler) -> None:
    total = ray.cluster_resources()["CPU"]
    scheduler.create_pool("most", resources={"cpu": total - 1})
    with pytest.raises(schedulemesh.InsufficientClusterCapacityError) as refusal:
        scheduler.create_pool("more", resources={"cpu": 2})
    assert refusal.value.available["cpu"] == 1.0
    scheduler.create_pool("more", resources={"cpu": 2}, overcommit=True)
    assert scheduler.status()["committed"]["cpu"] == total - 1


def test_an_agent_that_no_node_could_hold_is_refused_at_once(scheduler: Scheduler) -> None:
    scheduler.create_pool("wide", resources={"cpu": 20})
    with pytest.raises(schedulemesh.NoNodeFitsError) as refusal:
        scheduler.create_agent("wide", "wide", Plain, resources={"cpu": 18})
    assert refusal.value.largest["cpu"] == 16.0
    assert scheduler.get_pool("wide")["pool"]["agents"] == 0


def test_a_waiting_start_starves_nobody_and_says_what_it_waits_for(scheduler: Scheduler) -> None:
    scheduler.create_pool("tight", resources={"worker_only": 1, "cpu": 4}, overcommit=True)
    scheduler.create_pool("too-tight", resources={"worker_only": 1, "cpu": 4}, overcommit=True)
    scheduler.create_agent("has-it", "tight", Plain, resources={"worker_only": 1, "cpu": 0.1})
    with pytest.raises(schedulemesh.AgentStartTimeoutError, match="no node has room") as refusal:
        scheduler.create_agent("waits", "too-tight", Plain, resources={"worker_only": 1, "cpu": 0.1}, timeout_s=3)
    assert isinstance(refusal.value, TimeoutError)
    assert scheduler.get_pool("too-tight")["pool"]["agents"] == 0
    assert living_actors("waits") == []


def test_a_resize_makes_room_and_will_not_take_what_is_held(scheduler: Scheduler) -> None:
    scheduler.create_pool("elastic", resources={"cpu": 0.5}, target_agents=1)
    scheduler.create_agent("one", "elastic", Plain)
    with pytest.raises(InsufficientPoolCapacityError):
        scheduler.create_agent("two", "elastic", Plain)
    scheduler.resize_pool("elastic", target_agents=2)
    scheduler.create_agent("two", "elastic", Plain)
    with pytest.raises(schedulemesh.PoolNotEmptyError):
        scheduler.resize_pool("elastic", target_agents=1)
    shrunk: Any = scheduler.resize_pool("elastic", target_agents=1, force=True)
    assert shrunk["pool"]["available_resources"]["cpu"] == -0.5
    with pytest.raises(schedulemesh.PoolNotEmptyError):
        scheduler.delete_pool("elastic")
    assert scheduler.delete_pool("elastic", force=True)["pool"]["state"] == "deleted"
    assert living_actors() == []
