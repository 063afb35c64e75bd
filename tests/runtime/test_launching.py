"""One launch: what is created or adopted, with which options, and what is reported in the end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from dispatch_bench import moment, order, play
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from schedulemesh.core.launch_protocol import (
    AGENT_LABEL,
    MESH_LABEL,
    Launch,
    LaunchFailed,
    LaunchLost,
    LaunchReady,
    LaunchReport,
    LeasedOrder,
)
from schedulemesh.core.messages import ReportOrder, Request, decode_request, encode_request
from schedulemesh.core.names import mesh_label
from schedulemesh.core.options import opaque
from schedulemesh.runtime import launching as module
from schedulemesh.runtime.agent_class import UnmadeError
from schedulemesh.runtime.env_vars import RECORD
from schedulemesh.runtime.launching import CHUNK, MAX_CAUSE, NAME_TRIED_S, Launching

OPTIONS = {"scheduling_strategy": "DEFAULT", "runtime_env": {}, "num_cpus": 1.0}
TAKEN = ValueError("The name w1 (namespace=ns) is already taken")


class Actor:
    """An actor's handle. `ready` is what its constructor comes to, one after the other; the last one stays."""

    def __init__(self, actor_id: str = "actor", *ready: Exception | None, uid: str = "a1") -> None:
        self.actor_id = actor_id
        self.uid = uid
        self._ready = list(ready) or [None]
        self.__ray_ready__ = SimpleNamespace(remote=self._is_ready)

    async def _is_ready(self) -> None:
        outcome = self._ready.pop(0) if len(self._ready) > 1 else self._ready[0]
        if outcome is not None:
            raise outcome


class Ray:
    """What the launch asks of Ray. `creates`: what creating the actor comes to, one after the other; the last stays."""

    def __init__(self) -> None:
        self.creates: list[Actor | Exception] = [Actor()]
        self.named: list[Actor] = []
        """Actors that are there already, under the agent's name."""
        self.row: Any = SimpleNamespace(
            address=SimpleNamespace(node_id=b"\x01"), pid=7, labels={AGENT_LABEL: "a1"}, never_created=False
        )
        self.options: dict[str, Any] = {}
        self.bad_option: Exception | None = None
        self.arguments: tuple[Any, ...] = ()
        self.created = 0
        self.killed: list[Any] = []
        self.unloadable = ""

    # -- the loader and the class --------------------------------------------------------------------------------

    async def get(self, key: str, blob: bytes, groups: Any, given_up: asyncio.Event) -> Any:
        if self.unloadable:
            raise UnmadeError(self.unloadable)
        return SimpleNamespace(options=self._options)

    def _options(self, **options: Any) -> Any:
        if self.bad_option is not None:
            raise self.bad_option
        self.options = options
        return SimpleNamespace(remote=self._create)

    def _create(self, *arguments: Any) -> Actor:
        self.created += 1
        self.arguments = arguments
        outcome = self.creates.pop(0) if len(self.creates) > 1 else self.creates[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    # -- the actor table -----------------------------------------------------------------------------------------

    async def find(self, wanted: Any) -> Actor | None:
        return next((actor for actor in self.named if wanted.actor_id in (None, actor.actor_id)), None)

    async def row_of(self, actor_id: str) -> Any:
        if isinstance(self.row, Exception):
            raise self.row
        found = next((actor for actor in self.named if actor.actor_id == actor_id), None)
        if found is not None:
            return SimpleNamespace(**{**vars(self.row), "labels": {AGENT_LABEL: found.uid}})
        return self.row

    def placement(self, _: Any) -> str:
        """The warm workers."""
        return "where workers are warm"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Ray:
    one = Ray()
    monkeypatch.setattr(module, "find", one.find)
    monkeypatch.setattr(module, "row_of", one.row_of)
    monkeypatch.setattr(module, "id_of", lambda actor: actor.actor_id)
    monkeypatch.setattr(module, "to_bytes", lambda actor: f"handle of {actor.actor_id}".encode())
    monkeypatch.setattr(module, "was_never_created", lambda row: row.never_created)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time()))
    monkeypatch.setattr(ray, "kill", lambda actor, *, no_restart: one.killed.append((actor, no_restart)))
    return one


def begun(world: Ray, launch: Launch, args: bytes = b"args") -> Launching:
    loader: Any = world
    return Launching(LeasedOrder("lease", launch, b"class", args), "mesh", "ns", loader, loader)


def launched(world: Ray, launch: Launch, args: bytes = b"args") -> LaunchReport:
    async def main() -> LaunchReport:
        return await begun(world, launch, args).run()

    return play(main())


def one_order(**changes: Any) -> Launch:
    options = {**OPTIONS, **changes.pop("options", {})}
    return order(options=options, **changes)


def died(text: str = "its process was killed") -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = text
    return error


# -- what is reported ------------------------------------------------------------------------------------------------


def test_an_agent_whose_constructor_has_finished_is_ready(world: Ray) -> None:
    assert launched(world, one_order()) == LaunchReady("a1", 1, "actor", "01", 7, b"handle of actor")


@pytest.mark.parametrize("row", [None, ConnectionError("the GCS is away")], ids=["none", "unreadable"])
def test_it_is_ready_though_rays_table_does_not_say_where(world: Ray, row: Any) -> None:
    world.row = row
    assert launched(world, one_order()) == LaunchReady("a1", 1, "actor", None, None, b"handle of actor")


def test_a_constructor_whose_process_died_is_waited_for_when_ray_starts_it_again(world: Ray) -> None:
    away = ActorUnavailableError("restarting", b"\x01" * 16)
    world.creates = [Actor("actor", away, away, None)]
    assert isinstance(launched(world, one_order()), LaunchReady)


def test_a_constructor_that_raised_is_a_failure_with_its_traceback(world: Ray) -> None:
    world.creates = [Actor("actor", died("\x1b[36mworker.py, line 3: ValueError\x1b[0m"))]
    assert launched(world, one_order()) == LaunchFailed("a1", 1, "worker.py, line 3: ValueError")


def test_an_actor_that_ray_dropped_before_it_was_created_is_lost(world: Ray) -> None:
    """Its launcher had gone before Ray had begun; another launch may create it after all."""
    world.named = [Actor("before", died("its owner has died"))]
    world.row.never_created = True
    assert launched(world, one_order(adopt="before")) == LaunchLost("a1", 1, "its owner has died")


@pytest.mark.parametrize(("attempt", "kind"), [(1, LaunchFailed), (2, LaunchLost)])
def test_a_class_that_does_not_load_makes_no_actor(world: Ray, attempt: int, kind: type[LaunchReport]) -> None:
    world.unloadable = "no module"
    assert launched(world, one_order(attempt=attempt)) == kind("a1", attempt, "no module")
    assert world.created == 0


def test_what_ray_does_not_take_is_a_failure(world: Ray) -> None:
    world.bad_option = TypeError("no such option")
    report = launched(world, one_order())
    assert report == LaunchFailed("a1", 1, "Ray does not take its options: TypeError: no such option")
    world.bad_option, world.creates = None, [ValueError("num_cpus must be positive")]
    assert launched(world, one_order()) == LaunchFailed("a1", 1, "ValueError: num_cpus must be positive")


def test_after_an_error_that_nobody_expected_an_actor_may_exist(world: Ray) -> None:
    world.creates = [Actor("actor", ZeroDivisionError("a defect"))]
    assert launched(world, one_order()) == LaunchLost("a1", 1, "ZeroDivisionError: a defect")


@pytest.mark.parametrize("cause", ["x" * 20_000_000, "\ud800", "语" * 1_000_000], ids=["long", "no Unicode", "wide"])
def test_whatever_a_user_raises_can_be_reported(world: Ray, cause: str) -> None:
    world.unloadable = f"first line\n{cause}\nValueError: last line"
    report = launched(world, one_order())
    assert isinstance(report, LaunchFailed)
    assert report.cause.startswith("first line")
    assert report.cause.endswith("ValueError: last line")
    assert len(report.cause) < MAX_CAUSE + 100
    request = Request("r", ReportOrder("key", "l1", "p1", "lease", report))
    assert decode_request(encode_request(request)) == request


# -- names and adoption ----------------------------------------------------------------------------------------------


def test_a_name_that_is_still_taken_is_tried_for_a_while(world: Ray) -> None:
    world.creates = [TAKEN, TAKEN, Actor()]
    assert isinstance(launched(world, one_order()), LaunchReady)
    assert world.created == 3


def test_a_name_that_stays_taken_is_a_failure_that_says_what_to_do(world: Ray) -> None:
    world.creates = [TAKEN]

    async def main() -> tuple[LaunchReport, float]:
        began = asyncio.get_running_loop().time()
        report = await begun(world, one_order()).run()
        return report, asyncio.get_running_loop().time() - began

    report, took_s = play(main())
    assert isinstance(report, LaunchFailed)
    assert "is taken in namespace 'ns' by an actor that is not this mesh's; give the agent another" in report.cause
    assert took_s == pytest.approx(NAME_TRIED_S, abs=0.3)


def test_what_an_earlier_launch_created_after_all_is_taken(world: Ray) -> None:
    world.creates, world.named = [TAKEN], [Actor("before")]
    report = launched(world, one_order(attempt=2))
    assert isinstance(report, LaunchReady)
    assert report.actor_id == "before"


@pytest.mark.parametrize(("attempt", "uid"), [(1, "a1"), (2, "another")])
def test_an_actor_that_is_not_this_agents_is_never_taken(world: Ray, attempt: int, uid: str) -> None:
    """A first launch has no earlier one; and a stranger, or another agent, may have the name."""
    world.creates, world.named = [TAKEN], [Actor("before", uid=uid)]
    report = launched(world, one_order(attempt=attempt))
    assert isinstance(report, LaunchFailed if attempt == 1 else LaunchLost)
    assert "is taken" in report.cause


def test_an_actor_to_be_adopted_only_has_to_get_ready(world: Ray) -> None:
    world.named = [Actor("before")]
    report = launched(world, one_order(adopt="before"))
    assert isinstance(report, LaunchReady)
    assert (report.actor_id, world.created) == ("before", 0)


def test_an_actor_to_be_adopted_that_is_gone_is_not_created_a_second_time(world: Ray) -> None:
    world.named = [Actor("another")]
    assert launched(world, one_order(adopt="before")) == LaunchLost("a1", 1, "the actor to be adopted is gone")
    assert world.created == 0


def test_a_launch_that_is_given_up_while_its_name_is_taken_creates_nothing(world: Ray) -> None:
    world.creates = [TAKEN]

    async def main() -> LaunchReport:
        launching = begun(world, one_order())
        run = asyncio.ensure_future(launching.run())
        await moment()
        launching.given_up.set()
        return await run

    assert play(main()) == LaunchFailed("a1", 1, "it was deleted before it was launched")


def test_an_actor_that_was_adopted_for_a_launch_that_is_given_up_is_killed(world: Ray) -> None:
    world.named = [Actor("before", died())]

    async def main() -> LaunchReport:
        launching = begun(world, one_order(adopt="before"))
        launching.given_up.set()
        return await launching.run()

    assert play(main()) == LaunchFailed("a1", 1, "its process was killed")
    assert world.killed == [(world.named[0], True)]


def test_the_report_is_about_the_latest_attempt(world: Ray) -> None:
    async def main() -> LaunchReport:
        launching = begun(world, one_order())
        launching.renew(LeasedOrder("later", one_order(attempt=3)))
        return await launching.run()

    report = play(main())
    assert isinstance(report, LaunchReady)
    assert report.attempt == 3


# -- options and arguments -------------------------------------------------------------------------------------------


def test_the_actor_carries_the_agents_uid_and_its_mesh(world: Ray) -> None:
    launched(world, one_order(options={"_labels": {"users": "own"}}))
    assert world.options["_labels"] == {"users": "own", AGENT_LABEL: "a1", MESH_LABEL: mesh_label("mesh", "ns")}


def test_options_of_ours_and_empty_ones_are_not_passed_on(world: Ray) -> None:
    launched(world, one_order(options={"get_if_exists": True, "concurrency_groups": {"io": 2}}))
    assert set(world.options) == {"scheduling_strategy", "num_cpus", "_labels"}


def test_pickled_options_are_unpickled_here(world: Ray) -> None:
    strategy = NodeAffinitySchedulingStrategy("a1" * 28, soft=False)
    pickled = opaque(ray.cloudpickle.dumps(strategy), "a strategy")
    launched(world, one_order(options={"scheduling_strategy": pickled}))
    assert world.options["scheduling_strategy"].node_id == strategy.node_id


def test_a_node_affinity_is_one_to_the_drivers_node(world: Ray) -> None:
    launched(world, one_order(options={"scheduling_strategy": "NODE_AFFINITY"}, driver_node="a1" * 28))
    strategy = world.options["scheduling_strategy"]
    assert (strategy.node_id, strategy.soft) == ("a1" * 28, True)


@pytest.mark.parametrize(
    ("options", "strategy"),
    [
        ({}, "where workers are warm"),
        ({"scheduling_strategy": "SPREAD"}, "SPREAD"),
        ({"runtime_env": {"pip": ["x"]}}, "DEFAULT"),
        ({"runtime_env": {"env_vars": {"TOKEN": "x"}}}, "DEFAULT"),
    ],
    ids=["default", "spread", "runtime_env", "env_vars"],
)
def test_only_agents_that_a_warm_worker_suits_are_put_beside_one(
    world: Ray, options: dict[str, Any], strategy: str
) -> None:
    launched(world, one_order(options=options, warm=True))
    assert world.options["scheduling_strategy"] == strategy
    launched(world, one_order(options=options))
    assert world.options["scheduling_strategy"] == options.get("scheduling_strategy", "DEFAULT")


@pytest.mark.parametrize("inherits", [False, True])
def test_values_of_variables_stay_in_the_record(world: Ray, inherits: bool) -> None:
    env_vars = {} if inherits else {"TOKEN": "secret"}
    launched(world, one_order(options={"runtime_env": {"env_vars": env_vars}}, inherits=inherits))
    told = world.options["runtime_env"]["env_vars"]
    assert told[RECORD] == "ns\nmesh\na1"
    assert "secret" not in str(told)


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK])
def test_arguments_travel_in_pieces_that_ray_keeps_with_the_actor(world: Ray, size: int) -> None:
    blob = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    launched(world, one_order(labels={"role": "x"}), blob)
    name, labels, *pieces = world.arguments
    assert (name, labels, b"".join(pieces)) == ("a1", {"role": "x"}, blob)
    assert all(0 < len(piece) <= CHUNK for piece in pieces)
