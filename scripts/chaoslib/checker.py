"""The checker: proves from a history that the promises held, or names the lines that show they did not.

Pure: it reads a history and nothing else. Each rule stands alone. Where a rule allows something, it says why.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from chaoslib import excuses
from chaoslib.evidence import NEVER, Evidence, agents_of, pools_of
from chaoslib.history import STARTS, Actor, Alone, AnyEntry, Born, Gone, Met

FLOOR_PER_MINUTE = 30.0
"""Requests answered. A run below it has not put anything to the test."""
KILLS_FLOOR_PER_MINUTE = 3.0
"""Kills of what the mesh or its users are made of. A run of half an hour had 8; below the floor nothing was harmed."""
DYING_S = 30.0
"""How long a process may take to be gone once Ray has let its name or its actor go: on a busy machine, up to 9 s were
seen. Longer is a second life."""
_ENDED = ("stopped", "failed")
_GRAIN = 1e-6


class Violation(NamedTuple):
    """A promise that was broken; `lines` of the history show it."""

    rule: str
    text: str
    lines: tuple[int, ...] = ()


def check(history: Sequence[AnyEntry]) -> list[Violation]:
    """Everything that was broken, rule by rule."""
    evidence = Evidence(history)
    return [violation for rule in RULES for violation in rule(evidence)]


def void(history: Sequence[AnyEntry]) -> list[str]:
    """Why the run proves nothing, if it does not."""
    evidence = Evidence(history)
    answered, kills = evidence.answered_per_minute(), evidence.kills_per_minute()
    found = []
    if answered < FLOOR_PER_MINUTE:
        found.append(f"{answered:.1f} requests a minute were answered, fewer than {FLOOR_PER_MINUTE:g}")
    if kills < KILLS_FLOOR_PER_MINUTE:
        found.append(f"{kills:.1f} kills a minute, fewer than {KILLS_FLOOR_PER_MINUTE:g}")
    return found


def nothing_acknowledged_is_lost(evidence: Evidence) -> Iterator[Violation]:
    """An agent whose creation was acknowledged is there at the end, or it was ended, for a cause that can be read.

    Allowed: a delete that may have been carried out, answered or not; the death of the process or node of an agent
    without restarts, which is its end.
    """
    rest = evidence.rest.agents if evidence.rest else {}
    for asked in evidence.creates():
        if asked.answer is None or asked.answer.error or not asked.answer.value["created"]:
            continue
        actor_id = asked.answer.value["agent"]["actor_id"]
        found = rest.get(asked.agent)
        if found is None or found["actor_id"] != actor_id:
            found = {"state": "gone", "cause": "another has its name, or nobody"}
        if found["state"] not in (*_ENDED, "gone"):
            continue
        if not found["cause"]:
            yield Violation("lost", f"{asked.agent} is {found['state']}, without a cause", (asked.line,))
        deleted = any(evidence.deletes_of(asked.agent, actor_id))
        killed = evidence.hits(actor_id) and asked.request.args["max_restarts"] == 0
        if not deleted and not killed:
            text = f"nobody ended {asked.agent} (actor {actor_id}), and it is {found['state']}: {found['cause']}"
            yield Violation("lost", text, (asked.line,))


def no_name_stands_twice_in_a_table(evidence: Evidence) -> Iterator[Violation]:
    """In no single reading of Ray's table has a name two actors that are not dead."""
    for line, table in evidence.tables():
        living = Counter(actor.name for actor in table.actors if actor.role == "agent" and actor.lives)
        for name, times in living.items():
            if times > 1:
                yield Violation("two actors", f"{name} stands {times} times in Ray's table", (line,))


def no_process_lives_beside_its_successor(evidence: Evidence) -> Iterator[Violation]:
    """By the lock of its name, which the kernel frees with the process and never before.

    Allowed: a process that still dies while its successor comes up, for a few seconds. Ray says that an actor is
    dead, and frees its name, before its process is gone. That it answers nobody then is the next rule's. And one that
    `excuses` has something to say of.
    """
    for line, met in lived_on(evidence):
        if excuses.of_process(evidence, met.other_pid) is None:
            text = f"{met.agent}: process {met.other_pid} lived on beside process {met.pid}"
            yield Violation("two actors", text, (line,))


def lived_on(evidence: Evidence) -> Iterator[tuple[int, Met]]:
    """Meetings with a process that did not go soon."""
    for line, met in evidence.of(Met):
        alone = [a.at for _, a in evidence.of(Alone) if (a.pid, a.actor_id) == (met.pid, met.actor_id)]
        if min(alone, default=NEVER) - met.at > DYING_S and not _ended_soon(evidence, met):
            yield line, met


def nobody_answers_after_its_successor(evidence: Evidence) -> Iterator[Violation]:
    """Once an agent's next process was born, no earlier one of the same name answers a call."""
    births: dict[str, list[Born]] = defaultdict(list)
    for _, born in evidence.of(Born):
        births[born.agent].append(born)
    for line, call in evidence.calls():
        if call.value is not None:
            later = [born.at for born in _successors(births[call.agent], call.value)]
            if min(later, default=NEVER) < call.value["at"]:
                text = f"{call.agent}: process {call.value['pid']} answered after its successor was born"
                yield Violation("two actors", text, (line,))


def _successors(births: Sequence[Born], identity: Mapping[str, Any]) -> Iterator[Born]:
    mine = [born.at for born in births if (born.pid, born.start) == (identity["pid"], identity["start"])]
    return (born for born in births if mine and born.at > mine[0])


def _ended_soon(evidence: Evidence, met: Met) -> bool:
    """Whether the one that came up was itself killed before it could see the other's end."""
    ends = [hit.begin for hit in evidence.hits(met.actor_id) if hit.begin > met.at]
    ends += [asked.request.at for asked in evidence.deletes_of(met.agent, met.actor_id)]
    return min(ends, default=NEVER) - met.at < DYING_S


def no_pool_is_overdrawn(evidence: Evidence) -> Iterator[Violation]:
    """In every answer about a pool, and by what Ray's table says is alive.

    The table is held against the largest capacity the pool ever had, as it does not say which one was in force.
    """
    capacity: dict[str, float] = defaultdict(float)
    for asked in evidence.asked:
        for pool in pools_of(asked.answer) if asked.answer else ():
            capacity[pool["name"]] = max(capacity[pool["name"]], pool["capacity"]["cpu"])
            for kind, used in pool["used_resources"].items():
                if used > pool["capacity"].get(kind, 0.0) + _GRAIN:
                    text = f"pool {pool['name']} has {kind}={used:g} used of {pool['capacity'].get(kind, 0.0):g}"
                    yield Violation("overdrawn", text, (asked.line,))
    for line, table in evidence.tables():
        for name, cpu in _held(table.actors).items():
            if cpu > capacity[name] + _GRAIN:
                text = f"agents of pool {name} hold cpu={cpu:g} in Ray's table, it has {capacity[name]:g}"
                yield Violation("overdrawn", text, (line,))


def the_books_are_right_at_rest(evidence: Evidence) -> Iterator[Violation]:
    """What the mesh says when nothing moves is what Ray says, and what the agents themselves answer."""
    rest = evidence.rest
    if rest is None:
        yield Violation("books", "the mesh did not tell what it has at the end")
        return
    if not rest.calm:
        moving = {name: agent["state"] for name, agent in rest.agents.items() if agent}
        yield Violation("books", f"the mesh did not come to rest: {moving}")
    living = {name: agent for name, agent in rest.agents.items() if agent and agent["state"] not in _ENDED}
    seen = {actor.name: actor.actor_id for actor in rest.seen if actor.role == "agent" and actor.lives}
    booked = {name: agent["actor_id"] for name, agent in living.items()}
    if seen != booked:
        text = (
            f"the books say {sorted(booked.items() - seen.items())}, Ray says {sorted(seen.items() - booked.items())}"
        )
        yield Violation("books", text)
    for name, agent in living.items():
        if agent["state"] == "running" and rest.calls.get(name) != agent["actor_id"]:
            yield Violation("books", f"{name} is called running, and a call to it said: {rest.calls.get(name)}")
    held = _held(rest.seen)
    for pool in rest.pools:
        used = pool["used_resources"]["cpu"]
        if abs(used - held[pool["name"]]) > _GRAIN:
            text = f"pool {pool['name']} says cpu={used:g} is used, living agents hold {held[pool['name']]:g}"
            yield Violation("books", text)


def nothing_is_left_behind(evidence: Evidence) -> Iterator[Violation]:
    """After `stop()`: no actor, no launcher, no key, no process but what `excuses` has something to say of."""
    left = evidence.left
    if left is None:
        yield Violation("left behind", "the mesh was not stopped")
        return
    if left.problem:
        yield Violation("left behind", f"stop() failed: {left.problem}")
    processes = [one for one in left.processes if excuses.of_process(evidence, _pid(one)) is None]
    for kind, those in (("actors", left.actors), ("processes", processes)):
        if those:
            yield Violation("left behind", f"{kind}: {', '.join(those)}")
    if left.keys:
        yield Violation("left behind", f"{left.keys} keys in the store")


def no_call_is_disturbed(evidence: Evidence) -> Iterator[Violation]:
    """A call fails only for one of the excuses of `excuses`.

    Neither the end of a supervisor, of a launcher, of the GCS, nor of another driver is one to an agent that was made.
    """
    for line, call in evidence.calls():
        if call.error and excuses.of_call(evidence, call) is None:
            text = f"call to {call.agent} failed after {call.took:.1f} s: {call.error}: {call.message[-200:]}"
            yield Violation("call", text, (line,))


def every_failure_is_clear(evidence: Evidence) -> Iterator[Violation]:
    """A request ends in an answer, a refusal, or an error that says it may be tried again; nothing of Ray's gets out.

    Allowed: a start that fails because the agent, its node or its launcher was killed, or because it was deleted.
    """
    killed_lives = {(gone.driver, gone.life) for _, gone in evidence.of(Gone) if gone.killed}
    for asked in evidence.asked:
        answer = asked.answer
        if answer is None:
            if (asked.request.driver, asked.request.life) not in killed_lives:
                yield Violation("unclear", f"{asked.request.op} {asked.request.args} had no answer", (asked.line,))
        elif answer.error in STARTS:
            if excuses.of_start(evidence, asked) is None:
                text = f"{asked.agent} did not start, for no reason of this run's: {answer.message[:300]}"
                yield Violation("unclear", text, (asked.line,))
        elif answer.outcome == "failed":
            text = f"{answer.op} {asked.request.args} ended in {answer.error}: {answer.message[:300]}"
            yield Violation("unclear", text, (asked.line,))


def what_was_deleted_is_gone(evidence: Evidence) -> Iterator[Violation]:
    """Once a delete was acknowledged, the actor it told of answers nobody and lives in no later reading."""
    ended: dict[str, tuple[float, int]] = {}
    for asked in evidence.deletes:
        if asked.answer is not None and not asked.answer.error:
            for agent in agents_of(asked.answer):
                if agent["actor_id"]:
                    ended.setdefault(agent["actor_id"], (asked.answer.at, asked.line))
    for line, table in evidence.tables():
        for actor in table.actors:
            if actor.lives and actor.actor_id in ended and ended[actor.actor_id][0] < table.at:
                text = f"{actor.name} was deleted, and is {actor.state} in Ray's table"
                yield Violation("deleted", text, (ended[actor.actor_id][1], line))
    for line, call in evidence.calls():
        if call.value is not None and ended.get(call.value["actor_id"], (NEVER, 0))[0] < call.value["at"]:
            text = f"{call.agent} answered after it had been deleted"
            yield Violation("deleted", text, (ended[call.value["actor_id"]][1], line))


def drivers_end_only_when_killed(evidence: Evidence) -> Iterator[Violation]:
    """Allowed: a driver that was just starting, as Ray itself needs the GCS for that."""
    for line, gone in evidence.of(Gone):
        if gone.code and not gone.killed and gone.ready:
            text = f"driver {gone.driver} ended by itself ({gone.code}): {gone.last_words[-200:]}"
            yield Violation("driver", text, (line,))


def _pid(shown: str) -> int:
    """Of `agent red-1 (pid 4711)`."""
    return int(shown.rpartition("pid ")[2].rstrip(")"))


def _held(actors: Sequence[Actor]) -> dict[str, float]:
    """What living agents hold, by pool, in cpus."""
    held: dict[str, float] = defaultdict(float)
    for actor in actors:
        if actor.role == "agent" and actor.lives:
            held[actor.name.rpartition("-")[0]] += actor.cpu
    return held


Rule = Callable[[Evidence], Iterator[Violation]]
RULES: tuple[Rule, ...] = (
    nothing_acknowledged_is_lost,
    no_name_stands_twice_in_a_table,
    no_process_lives_beside_its_successor,
    nobody_answers_after_its_successor,
    no_pool_is_overdrawn,
    the_books_are_right_at_rest,
    nothing_is_left_behind,
    no_call_is_disturbed,
    every_failure_is_clear,
    what_was_deleted_is_gone,
    drivers_end_only_when_killed,
)
