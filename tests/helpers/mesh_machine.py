"""A machine of random requests and observations, against a world that knows which actors really exist."""

from __future__ import annotations

from typing import Any

import msgspec
from answers import same_answer
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from mesh_driver import Bench, agent_body, amounts_of
from ray_world import RESTARTING, World

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.messages import (
    AnyBody,
    CreateAgent,
    CreatePool,
    DeleteAgent,
    DeletePool,
    Reply,
    Request,
    ResizePool,
)
from schedulemesh.core.states import HOLDING, AgentState, PoolState
from schedulemesh.supervisor.effects import Decision, Launch, ReadTable
from schedulemesh.supervisor.events import Asked, Event, Tick

names = st.sampled_from(["a", "b", "c"])
pools = st.sampled_from(["p", "q"])
tenths = st.integers(1, 7).map(lambda count: count / 10)
index = st.integers(0, 7)
VOLATILE = ("state", "actor_id", "node_id", "pid", "cause", "restarts")
"""What a crash may set back until the table is read: it is Ray's to say."""
ROUNDS = 40


class MeshMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.world = World()
        self.asked: dict[str, AnyBody] = {}
        self.settled: dict[str, Reply] = {}
        self.torn: int | None = None
        self.broken = False
        self.ask(CreatePool("p", {}, {"cpu": 1.0}, 0, False))
        self.ask(CreatePool("q", {}, {"cpu": 0.3}, 3, False))

    @initialize(count=st.integers(0, 3))
    def some_agents_run(self, count: int) -> None:
        for name in "abc"[:count]:
            self.ask(agent_body(name, pool="q", resources=None, args_blob=name.encode()))
        self.all_goes_well(3)

    # -- requests ------------------------------------------------------------------------------------------------

    def ask(self, body: AnyBody, request_id: str | None = None) -> None:
        request_id = request_id or self.bench.new_id()
        if isinstance(body, CreateAgent):
            body = msgspec.structs.replace(body, request_id=request_id)
        self.asked[request_id] = body
        before = self.bench.everything()
        self.settled.pop(request_id, None)
        decision = self.feed(Asked(Request(request_id, body)))
        if decision is None:
            return
        replies = [answer.reply for answer in decision.answers if answer.request_id == request_id]
        assert len(replies) <= 1
        if replies and replies[0].refusal is not None and request_id not in self.bench.records():
            assert not decision.writes, "a refused request wrote"
            assert not decision.effects, "a refused request gave orders"
            assert self.bench.everything() == before

    @rule(name=pools, cpu=tenths, how=st.sampled_from(["create", "resize", "force resize", "delete", "force delete"]))
    def change_a_pool(self, name: str, cpu: float, how: str) -> None:
        forced = how.startswith("force")
        if how == "create":
            self.ask(CreatePool(name, {}, {"cpu": cpu}, 2, False))
        elif how.endswith("resize"):
            self.ask(ResizePool(name, {"cpu": cpu * 2}, 0, forced))
        else:
            self.ask(DeletePool(name, forced))

    @rule(
        name=names,
        pool=pools,
        cpu=st.sampled_from([None, 0.1, 0.2, 0.7]),
        ray_name=st.sampled_from([None, None, None, "a", "other"]),
        share=st.booleans(),
        timeout_s=st.sampled_from([300.0, 5.0]),
    )
    def create_agent(
        self, name: str, pool: str, cpu: float | None, ray_name: str | None, share: bool, timeout_s: float
    ) -> None:
        options: dict[str, Any] = {"get_if_exists": share}
        if ray_name is not None:
            options |= {"name": ray_name, "namespace": "mesh-ns"}
        resources = None if cpu is None else {"cpu": cpu}
        body = agent_body(name, pool=pool, resources=resources, options=options, args_blob=name.encode())
        self.ask(msgspec.structs.replace(body, timeout_s=timeout_s))

    @rule(name=names, grace_s=st.sampled_from([0.0, 30.0]), force=st.booleans())
    def delete_agent(self, name: str, grace_s: float, force: bool) -> None:
        self.ask(DeleteAgent(name, grace_s, force))

    @rule(at=index)
    def ask_again(self, at: int) -> None:
        """A client's retry: what was answered is answered the same, what is under way is not begun anew."""
        request_id = list(self.asked)[-1 - at % len(self.asked)]
        first = self.settled.get(request_id)
        body = self.asked[request_id]
        known = self.remembers(request_id)
        launches = len(self.bench.orders(Launch))
        stored = dict(self.bench.store)
        self.ask(body, request_id)
        if known:
            assert len(self.bench.orders(Launch)) == launches, "a retry launched again"
            if first is not None:
                assert self.bench.store == stored, "a retry of what was done changed something"
                assert request_id in self.settled, "what was answered is not answered again"
                assert same_answer(self.settled[request_id], first)

    def remembers(self, request_id: str) -> bool:
        """Whether the mesh has to know this request: a mutation it carried out, whose subject it still keeps."""
        agents, pools = self.bench.records(), self.bench.pool_records()
        return (
            request_id in agents
            or request_id in pools
            or any(request_id in agent.stopped_by for agent in agents.values())
            or any(request_id in pool.changed_by for pool in pools.values())
        )

    # -- what happens in the world -------------------------------------------------------------------------------

    @precondition(lambda self: self.world.orders or self.world.launching)
    @rule(at=index, orders=st.integers(0, 2))
    def launchers_work(self, at: int, orders: int) -> None:
        for _ in range(min(orders, len(self.world.orders))):
            self.world.obey()
        if self.world.launching:
            self.world.work(pick(self.world.launching, at))

    @precondition(lambda self: self.world.launching)
    @rule(at=index, die=st.booleans())
    def a_launch_goes_wrong(self, at: int, die: bool) -> None:
        if die:
            self.world.lose_launchers()
        else:
            self.world.give_up(pick(self.world.launching, at))

    @precondition(lambda self: any(not actor.constructed for actor in self.world.living()))
    @rule(at=index, raises=st.booleans())
    def constructor_ends(self, at: int, raises: bool) -> None:
        actor = pick([actor for actor in self.world.living() if not actor.constructed], at)
        if raises and actor.phase is not RESTARTING:
            self.world.raise_in_constructor(actor)
        else:
            self.world.come_alive(actor)

    @precondition(lambda self: self.world.living())
    @rule(at=index, again=st.booleans())
    def actor_crashes(self, at: int, again: bool) -> None:
        actor = pick(self.world.living(), at)
        if again and not actor.asked_to_stop:
            self.world.crash(actor)
        else:
            self.world.end(actor, "its process was killed")

    @rule(rounds=st.integers(1, 3))
    def all_goes_well(self, rounds: int) -> None:
        """Orders are obeyed, constructors return, and news comes as it was pushed."""
        for _ in range(rounds):
            self.world.go_on()
            self.tell_news()

    # -- what the mesh is told -----------------------------------------------------------------------------------

    @precondition(lambda self: self.world.news)
    @rule(at=index, twice=st.booleans())
    def news_arrives(self, at: int, twice: bool) -> None:
        """In any order: what was pushed may be overtaken, and told again later."""
        event = pick(self.world.news, at)
        if not twice:
            self.world.news.remove(event)
        self.feed(event)

    @rule(with_the_dead=st.booleans())
    def table_is_read(self, with_the_dead: bool) -> None:
        """The reading is made now and told some time later."""
        self.world.news.append(self.world.table(self.bench.now, with_the_dead=with_the_dead))

    @precondition(lambda self: self.world.news)
    @rule()
    def all_news_arrives(self) -> None:
        self.tell_news()

    @rule(seconds=st.sampled_from([0.01, 0.1, 6.0, 40.0, -60.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.now += seconds
        self.feed(Tick())

    # -- the supervisor's own ends -------------------------------------------------------------------------------

    @rule(how=st.sampled_from(["now", "when all is told", "while writing"]), writes=st.integers(0, 4))
    def supervisor_crashes(self, how: str, writes: int) -> None:
        if how == "now":
            self.crash_now()
        elif how == "when all is told":
            self.crash_when_all_is_told()
        else:  # the next decision that writes more than this is torn: the rest of it never happens
            self.torn = writes

    def crash_now(self) -> None:
        """What was written is all there is, and it is all there was."""
        before = self.snapshot()
        self.come_back()
        after = self.snapshot()
        assert before["pools"] == after["pools"]
        assert before["agents"].keys() == after["agents"].keys()
        for name, was in before["agents"].items():
            now = after["agents"][name]
            if AgentState(was["state"]) in HOLDING:
                assert now["state"] == "recovering"
                assert {**now, **{key: was[key] for key in VOLATILE}} == was
            else:
                assert now == was

    def crash_when_all_is_told(self) -> None:
        """With the truth told before and after, the books are the same before and after."""
        self.tell_all()
        before = self.snapshot()
        under_way = {work.order.agent for work in self.world.launching}
        under_way |= {order.agent for order in self.world.orders if isinstance(order, Launch)}
        self.come_back()
        self.tell_all()
        after = self.snapshot()
        for name in before["agents"].keys() - under_way:
            was = before["agents"][name]
            if was["pool"] not in after["pools"]:
                assert under_way, "the last agent of its pool was not under way, but the pool is gone"
                continue
            now = after["agents"][name]
            assert {**now, "cause": None} == {**was, "cause": None}

    def come_back(self) -> None:
        self.world.lose_supervisor()
        self.take(self.bench.restart())

    # -- inside --------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> Decision | None:
        """Step the mesh, and let the world have its orders. None when the supervisor died on the way."""
        self.broken = True
        decision = self._fed(event)
        self.broken = False
        return decision

    def _fed(self, event: Event) -> Decision | None:
        if self.torn is None:
            decision = self.bench.step(event)
            self.take(decision)
            return decision
        self.bench.now += 0.001
        decision = self.bench.mesh.step(event, self.bench.now)
        writes, self.torn = self.torn, None
        if len(decision.writes) <= writes:
            self.bench.carry_out(decision)
            self.take(decision)
            return decision
        self.bench.carry_out(Decision(decision.writes[:writes], [], []))
        self.come_back()
        return None

    def take(self, decision: Decision) -> None:
        for effect in decision.effects:
            if isinstance(effect, Launch):
                kit = {f"blob/{key}" for key in (effect.class_blob, effect.args_blob, effect.environment_key)}
                assert kit <= self.bench.blobs(), "launched without its blobs"
            if isinstance(effect, ReadTable):
                self.world.news.append(self.world.table(self.bench.now + 0.0005, with_the_dead=True))
            else:
                self.world.orders.append(effect)
        for answer in decision.answers:
            self.settled[answer.request_id] = answer.reply

    def tell_all(self) -> None:
        """Every piece of news, in order, and then the table."""
        self.torn = None
        self.tell_news()
        self.bench.now += 1
        self.feed(self.world.table(self.bench.now - 0.5, with_the_dead=True))

    def tell_news(self) -> None:
        while self.world.news:
            self.feed(self.world.news.pop(0))

    def snapshot(self) -> dict[str, Any]:
        shown = self.bench.everything()
        return {key: {info["name"]: info for info in shown[key]} for key in ("pools", "agents")}

    # -- what must always hold -----------------------------------------------------------------------------------

    @invariant()
    def what_is_used_is_the_sum_of_holds(self) -> None:
        holding = [record for record in self.bench.records().values() if record.state in HOLDING]
        for uid, record in self.bench.pool_records().items():
            if record.state is PoolState.DELETED:
                continue
            pool = self.bench.pool(record.name)
            used = Amounts()
            for agent in holding:
                if agent.pool_uid == uid:
                    used = used.plus(agent.need)
            assert used == amounts_of(pool["used_resources"])
            assert pool["agents"] == sum(agent.pool_uid == uid for agent in holding)
            fits = used.fits_in(amounts_of(pool["capacity"]))
            forced = any(isinstance(self.asked.get(i), ResizePool) for i in record.changed_by)
            assert fits or forced, "more is used than there is"
        assert len({record.name for record in holding}) == len(holding), "two agents hold under one name"

    @invariant()
    def no_capacity_comes_back_while_its_actor_lives(self) -> None:
        records = self.bench.records()
        for actor in self.world.living():
            assert actor.uid in records, f"{actor} is in no books"
            assert records[actor.uid].state in HOLDING, f"{actor} lives and holds nothing"

    @invariant()
    def one_living_actor_stands_behind_a_name(self) -> None:
        living = [(actor.namespace, actor.name) for actor in self.world.living()]
        assert len(living) == len(set(living))
        uids = [actor.uid for actor in self.world.living()]
        assert len(uids) == len(set(uids))

    def teardown(self) -> None:
        """Nothing hangs: told the truth for long enough, every agent ends, and everyone has an answer."""
        if self.broken:
            return  # it failed on the way
        self.torn = None
        for round_ in range(ROUNDS):
            self.tell_all()
            self.world.go_on()
            self.bench.now += 10
            self.feed(Tick())
            if round_ == 0:
                for request_id in [request_id for request_id in self.asked if request_id not in self.settled]:
                    self.ask(self.asked[request_id], request_id)
            if round_ == ROUNDS // 2:
                for name in ("a", "b", "c"):
                    self.ask(DeleteAgent(name, 30.0, force=False))
        shown = self.bench.everything()
        assert not [agent for agent in shown["agents"] if AgentState(agent["state"]) in HOLDING]
        assert all(not any(pool["used_resources"].values()) for pool in shown["pools"])
        assert not self.world.living()
        assert not self.bench.blobs(), "launch kits are left behind"
        waiting = [request_id for request_id in self.asked if request_id not in self.settled]
        assert not waiting, f"no answer to {[self.asked[request_id] for request_id in waiting]}"
        assert self.bench.wake_at is None


def pick(things: list[Any], at: int) -> Any:
    return things[at % len(things)]
