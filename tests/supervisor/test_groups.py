"""Decisions that are persisted together: what may share a write, and in which order the writes of a group go."""

from __future__ import annotations

from schedulemesh.supervisor.effects import Decision, EndMesh, Write
from schedulemesh.supervisor.groups import MAX_BYTES, MAX_GROUP, grouped, stages


def decision(*writes: Write, ends_mesh: bool = False) -> Decision:
    return Decision(list(writes), [EndMesh()] if ends_mesh else [], [])


def agent(uid: str, *, ended: bool = False) -> Write:
    return Write(f"agent/{uid}", b"record", frees=ended)


BLOB, BLOB_GOES = Write("blob/b", b"class"), Write("blob/b", None)
POOL = Write("pool/p", b"record")


def test_decisions_about_agents_share_a_group() -> None:
    some = [decision(agent(str(number))) for number in range(3)]
    assert list(grouped(some)) == [some]


def test_a_decision_about_a_pool_is_a_group_of_its_own_in_its_place() -> None:
    before, pool, after = decision(agent("a")), decision(agent("a"), POOL), decision(agent("b"))
    assert list(grouped([before, pool, after])) == [[before], [pool], [after]]


def test_the_end_of_the_mesh_is_a_group_of_its_own() -> None:
    before, end = decision(agent("a")), decision(ends_mesh=True)
    assert list(grouped([before, end])) == [[before], [end]]


def test_a_group_is_bounded() -> None:
    sizes = [len(group) for group in grouped(decision(agent(str(number))) for number in range(2 * MAX_GROUP + 1))]
    assert sizes == [MAX_GROUP, MAX_GROUP, 1]


def test_ends_go_before_what_takes_their_place_and_deletions_go_last() -> None:
    old, new = agent("old", ended=True), agent("new")
    group = [decision(BLOB_GOES, old), decision(Write("blob/c", b"class"), new)]
    assert stages(group) == [[old], [Write("blob/c", b"class")], [new], [BLOB_GOES]]


def test_of_several_writes_of_a_key_only_the_last_is_done() -> None:
    started, ended = agent("a"), agent("a", ended=True)
    assert stages([decision(BLOB, started), decision(ended, BLOB_GOES)]) == [[ended], [BLOB_GOES]]
    assert stages([decision(BLOB_GOES), decision(BLOB)]) == [[BLOB]]


def test_the_writes_about_a_pool_keep_the_order_that_was_decided() -> None:
    writes = [agent("b"), agent("a"), POOL]
    assert stages([decision(*writes)]) == [[write] for write in writes]


def test_what_ended_and_is_forgotten_in_the_same_group_goes_before_what_takes_its_place() -> None:
    forgotten, new = Write("agent/old", None, frees=True), agent("new")
    assert stages([decision(agent("old", ended=True), forgotten), decision(new)]) == [[forgotten], [new]]


def test_a_group_is_bounded_in_bytes_too() -> None:
    large = decision(Write("blob/x", bytes(MAX_BYTES // 2 + 1)))
    assert [len(group) for group in grouped([large, large, large])] == [2, 1]
