"""Row 11: durable creates a second, and what one create writes; next to no-op calls and raw writes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import ray
from harness.probes import Bare
from harness.raw_writes import RawWrites
from harness.records import NOTE, StubMesh, checked, encoded
from harness.rounds import interleave
from harness.rows import Row, at_least, at_most, ratio_row, value_row
from harness.subject import Part, Stage, main

from schedulemesh.core.messages import CreateAgents

SUBJECT = "durable creates"
IN_FLIGHT = 64
_VALUE = 700
"""Bytes of a raw write: what an agent's record has."""
_AT_LEAST = 2000.0
_NOTE = f"{NOTE}; requests are encoded beforehand"


def durable(stage: Stage) -> list[Row]:
    return [*_rates(stage), _bytes(stage)]


def _rates(stage: Stage) -> list[Row]:
    mesh = StubMesh("bench-durable", 0)
    remote: Any = ray.remote
    bare = remote(Bare).options(num_cpus=0, max_concurrency=100_000).remote()
    writes = remote(RawWrites).options(num_cpus=0, max_concurrency=100_000).remote()
    count = IN_FLIGHT * stage.size(16, 3)
    taken = interleave(
        SUBJECT,
        {
            "singly": lambda _: _singly(mesh, count),
            "no-op": lambda _: _pipelined(bare.ping.remote, [()] * count),
            "batches": lambda _: _batches(mesh, count),
            "writes": lambda number: (
                count / float(ray.get(writes.put.remote(count, IN_FLIGHT, _VALUE, f"round-{number}")))
            ),
        },
        rounds=stage.rounds(15),
    )
    mesh.end()
    single, batched = f"{SUBJECT}, one by one with {IN_FLIGHT} in flight", f"{SUBJECT}, in batches of {IN_FLIGHT}"
    return [
        ratio_row(
            11,
            single,
            list(zip(taken["singly"], taken["no-op"], strict=True)),
            unit="/s",
            rival=f"no-op calls, {IN_FLIGHT} in flight",
            target=at_least(0.5),
            note=_NOTE,
        ),
        ratio_row(
            11,
            batched,
            list(zip(taken["batches"], taken["writes"], strict=True)),
            unit="/s",
            rival=f"raw key-value writes of {_VALUE} bytes, {IN_FLIGHT} in flight",
            target=at_least(0.6),
            note=_NOTE,
        ),
        value_row(11, batched, taken["batches"], unit="/s", target=at_least(_AT_LEAST), note=_NOTE),
    ]


def _bytes(stage: Stage) -> Row:
    """One create at a time, so that no two share a launch kit: the same work in each."""
    few, many = 100, stage.size(10_000, 1000)
    small, large = StubMesh("bench-bytes-few", few), StubMesh("bench-bytes-many", many)
    creates = stage.size(20, 5)
    written = interleave(
        "bytes written a create",
        {
            "many": lambda _: _written(large, creates),
            "few": lambda _: _written(small, creates),
        },
        rounds=stage.rounds(10),
    )
    small.end()
    large.end()
    pairs = list(zip(written["many"], written["few"], strict=True))
    subject = f"bytes written a create with {many:,} records"
    return ratio_row(11, subject, pairs, unit="B", rival=f"with {few:,} records", target=at_most(1.05), note=NOTE)


def _written(mesh: StubMesh, creates: int) -> float:
    before, _ = ray.get(mesh.handle.written.remote())
    for body in mesh.bodies(creates):
        mesh.ask(body)
    after, _ = ray.get(mesh.handle.written.remote())
    return float(after - before) / creates


def _singly(mesh: StubMesh, count: int) -> float:
    return _pipelined(mesh.handle.call.remote, [(encoded(body),) for body in mesh.bodies(count)], checked)


def _batches(mesh: StubMesh, count: int) -> float:
    """Creates a second, one batch after another."""
    payloads = [encoded(CreateAgents(mesh.bodies(IN_FLIGHT))) for _ in range(count // IN_FLIGHT)]
    began = time.perf_counter()
    answers = [ray.get(mesh.handle.call.remote(payload)) for payload in payloads]
    took = time.perf_counter() - began
    for answer in answers:
        checked(answer)
    return count / took


def _pipelined(
    call: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], check: Callable[[Any], object] = lambda _: None
) -> float:
    """Calls a second, with so many in flight at any time."""
    flying: deque[Any] = deque()
    answers = []
    began = time.perf_counter()
    for one in arguments:
        if len(flying) == IN_FLIGHT:
            answers.append(ray.get(flying.popleft()))
        flying.append(call(*one))
    answers += ray.get(list(flying))
    took = time.perf_counter() - began
    for answer in answers:
        check(answer)
    return len(arguments) / took


PARTS = (Part(11, SUBJECT, durable),)

if __name__ == "__main__":
    main(*PARTS, log_to_driver=False)
