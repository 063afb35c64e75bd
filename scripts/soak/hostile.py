"""Hostile input on a real cluster: odd values through the client, hostile messages at the supervisor's door.

The examples come from the strategies of the tests, in chunks, each from a seed of its own; one that fails is run
again with `run(examples=CHUNK, first_seed=<the seed that was printed>)`.
"""

from __future__ import annotations

import time
from collections import Counter

from own_cluster import own_cluster  # first: it says where the helpers are

import ray  # isort: skip
from fuzz import on_examples
from hostile_client import HostileDriver, calls, sendable
from hostile_wire import HostileSender, messages
from rich.console import Console
from rich.table import Table

import schedulemesh

MESH = "soak-hostile"
CHUNK = 500


def run(*, examples: int = 20_000, seconds: float | None = None, first_seed: int = 0) -> None:
    """Half of the examples through the client, half at the door; or as many as fit into `seconds`.

    Raises AssertionError for a crash, a changed ledger, or an answer that is none of ours.
    """
    started = time.monotonic()
    with own_cluster():
        scheduler = schedulemesh.connect(MESH)
        pid = scheduler.status()["pid"]
        driver = HostileDriver(scheduler)
        supervisor = ray.get_actor(MESH, namespace="schedulemesh")
        good, environment = sendable(scheduler)
        sender = HostileSender(lambda message: ray.get(supervisor.call.remote(message), timeout=60), environment)
        tried, seeded = 0, first_seed
        while tried < examples and (seconds is None or time.monotonic() - started < seconds):
            number = min(CHUNK, examples - tried)
            pace = tried / (time.monotonic() - started)
            print(f"hostile: {tried:,} examples, {pace:.0f} a second; on with seed {seeded}", flush=True)
            if seeded % 2:
                sender.look()
                on_examples(sender.send, messages(good), number=number, seeded=seeded)
            else:
                driver.settle()
                on_examples(driver.make, calls(), number=number, seeded=seeded)
            assert scheduler.status()["pid"] == pid, "the supervisor was started again"
            tried, seeded = tried + number, seeded + 1
        scheduler.stop(force=True)
    _print(driver.outcomes, sender.outcomes)


def _print(client: Counter[str], wire: Counter[str]) -> None:
    table = Table("outcome", "client", "door", title="hostile input: 0 crashes, 0 changed ledgers")
    for outcome, _ in (client + wire).most_common():
        table.add_row(outcome, f"{client[outcome]:,}", f"{wire[outcome]:,}")
    Console().print(table)
