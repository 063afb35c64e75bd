"""The excuses: why a call or a start may have failed in a run that kills, or a process have lived on.

Each is one function, and says why it is one.

The narrow ones come first and the wide ones last, so that the report's count of each says how much hangs on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chaoslib.evidence import NEVER, RECOVERED_S, Asked, Evidence
from chaoslib.history import Born, Call

DROPPED_S = 30.0
"""How long after its launcher was killed Ray may still say that it dropped an actor: it has to be back itself first."""
START_S = 300.0
"""How long a start may take: the `timeout_s` that the drivers leave as it is."""
MADE_S = 5.0
"""How long after its constructor has begun an actor may not be up yet: that of the drivers' agents takes no time."""
TICKS_PER_S = 100
"""Linux tells the start of a process in these."""
_DROPPED = "its owner has died"
"""Ray's own word for an actor it had not begun to make when its launcher ended; no other detached one dies of that."""


def of_call(evidence: Evidence, call: Call) -> str | None:
    """What excuses a call that failed, in a few words; None if nothing does."""
    return next((reason for reason, excuses in _OF_CALLS.items() if excuses(evidence, call)), None)


def of_start(evidence: Evidence, asked: Asked) -> str | None:
    """What excuses a start that failed, in a few words; None if nothing does."""
    begin, end = asked.request.at, asked.ended
    if any(one.request.at < end and one.ended > begin for one in evidence.deletes_meant(asked.agent)):
        return "it was deleted"
    for what, reason in _OF_STARTS.items():
        kills = [kill for _, kill in evidence.kills(what) if begin < kill.at < end]
        if any(what != "agent" or kill.agent == asked.agent for kill in kills):
            return reason
    return None


def of_process(evidence: Evidence, pid: int) -> str | None:
    """What excuses an agent's process that lived on after its end; None if nothing does."""
    births = (born for births in evidence.births.values() for born in births if born.pid == pid)
    return "Ray lost it with its GCS, which went while it was made" if _lost(evidence, births) else None


def _lost(evidence: Evidence, births: Iterable[Born]) -> bool:
    """Its actor was being made while a GCS was away.

    Plain Ray 2.60 does the same, without any mesh: such an actor comes up and answers, and when it is killed, Ray says
    that it is dead, lets its name go, and leaves the process alone, until the next GCS looks at it or its node goes.
    Of 30 actors whose constructors ran while the GCS was killed, `ray.kill()` did not end 11. That such a process
    answers nobody is a rule of its own.
    """
    outages = evidence.without_gcs()
    return any(gone < born.at + MADE_S and back > born.start / TICKS_PER_S for born in births for gone, back in outages)


def _process_killed(evidence: Evidence, call: Call) -> bool:
    return _hit_by(evidence, call, "agent")


def _deleted(evidence: Evidence, call: Call) -> bool:
    return any(asked.request.at < _end(call) for asked in evidence.deletes_of(call.agent, call.actor_id))


def _node_killed(evidence: Evidence, call: Call) -> bool:
    return _hit_by(evidence, call, "node")


def _given_up(evidence: Evidence, call: Call) -> bool:
    """Someone else's create was late, so the mesh ended the agent that this driver had found meanwhile."""
    since = evidence.known_since(call.actor_id)
    late = (
        asked.answer.at
        for asked in evidence.creates()
        if asked.answer and asked.answer.error == "AgentStartTimeoutError" and asked.agent == call.agent
    )
    return any(since <= at < _end(call) + RECOVERED_S for at in late)


def _dropped_unmade(evidence: Evidence, call: Call) -> bool:
    """Ray dropped the actor with its launcher before it had begun to make it.

    Its constructor never ran, so it was not an agent yet: the mesh says `starting`, and makes it anew under another id.
    That it was dropped is what Ray says, and what its table shows: no later reading lists it.
    """
    end = _end(call)
    # With a node go the launchers on it.
    kills = (kill.at for _, kill in evidence.kills("launcher", "node"))
    return (
        call.error == "ActorDiedError"
        and _DROPPED in call.message
        and not evidence.births[call.actor_id]
        and evidence.last_seen(call.actor_id) <= end
        and any(end - DROPPED_S < at < end for at in kills)
    )


def _still_starting(evidence: Evidence, call: Call) -> bool:
    """The agent was on its way all the time, and the driver had no more patience.

    Who is given a handle of an agent that is `starting` may expect that a call waits for the start: that it is answered
    once the agent is up, and fails when the start does. It may not expect that the start is done within the driver's
    own time-out, as a start has a longer one. So: nobody was told that this actor is up, its constructor had not run,
    and it still stood in Ray's table. One that had been dropped would have failed the call, not let it wait.
    """
    end = _end(call)
    return (
        call.error == "GetTimeoutError"
        and min((born.at for born in evidence.births[call.actor_id]), default=NEVER) > end
        and evidence.said_up(call.actor_id) > end
        and evidence.is_listed(call.actor_id, end - RECOVERED_S)
        and end - evidence.known_since(call.actor_id) < START_S
    )


def _hit_by(evidence: Evidence, call: Call, what: str) -> bool:
    hits = (hit for hit in evidence.hits(call.actor_id) if hit.what == what)
    return any(hit.begin < _end(call) and call.at < hit.end for hit in hits)


def _end(call: Call) -> float:
    return call.at + call.took


_OF_CALLS: dict[str, Callable[[Evidence, Call], bool]] = {
    "its process was killed": _process_killed,
    "it was dropped unmade, with its launcher": _dropped_unmade,
    "it was being deleted": _deleted,
    "its node was killed": _node_killed,
    "its start was given up": _given_up,
    "it was still starting": _still_starting,
}
_OF_STARTS = {
    "agent": "its process was killed",
    "launcher": "a launcher was killed",
    "node": "a node was killed",
}
