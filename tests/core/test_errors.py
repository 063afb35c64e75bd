"""Errors: each survives pickling and the wire with its fields, and says subject, numbers and what to do."""

from __future__ import annotations

import pickle

import pytest

import schedulemesh
from schedulemesh.core import errors
from schedulemesh.core.errors import ERRORS, ScheduleMeshError
from schedulemesh.core.messages import Reply, decode_reply, encode_reply

ASKED, FREE, ALL = {"cpu": 2.0, "gpu": 3.0}, {"cpu": 5.0, "gpu": 1.0}, {"cpu": 8.0, "gpu": 8.0}

EXAMPLES: list[tuple[ScheduleMeshError, str]] = [
    (errors.InvalidRequestError("labels", "must be a dict"), "labels: must be a dict"),
    (
        errors.InsufficientPoolCapacityError("eval-7", "gpu", ["gpu"], ASKED, FREE, ALL, could_ever_fit=True),
        (
            "Insufficient pool capacity: agent 'eval-7' asks gpu=3, pool 'gpu' has gpu=1 of 8 available; "
            "delete an agent, ask for less, or resize the pool"
        ),
    ),
    (
        errors.InsufficientClusterCapacityError("p", ["cpu"], {"cpu": 9}, {"cpu": 3.5}, {"cpu": 8}, 0.1),
        (
            "Insufficient cluster capacity: pool 'p' asks cpu=9, cpu=3.5 is not promised to other pools, "
            "the cluster has cpu=8 (10% kept as headroom); ask for less, shrink another pool, or pass overcommit=True if the cluster "
            "autoscales"
        ),
    ),
    (
        errors.NoNodeFitsError("w1", {"cpu": 17.0, "gpu": 0.0}, 2, {"cpu": 16.0, "gpu": 4.0}),
        (
            "No node fits agent 'w1': it asks cpu=17, and none of 2 nodes has that in one place "
            "(the most on any one node: cpu=16); ask for less, or add a larger node"
        ),
    ),
    (
        errors.PoolNotFoundError("ml-poll", ["ml-pool", "ml-pool2"]),
        "No pool 'ml-poll' (did you mean 'ml-pool' or 'ml-pool2'?); list_pools() shows what there is",
    ),
    (errors.AgentNotFoundError("w9"), "No agent 'w9'; list_agents() shows what there is"),
    (
        errors.PoolExistsError("p", ["resources is cpu=1, asked cpu=2", "target_agents is 0, asked 2"]),
        (
            "Pool 'p' exists and differs: resources is cpu=1, asked cpu=2; target_agents is 0, asked 2; "
            "use resize_pool() or delete_pool(), or take another name"
        ),
    ),
    (
        errors.AgentExistsError("w1", "running", ["resources"]),
        (
            "Agent 'w1' exists (running) and differs in resources; take another name, delete it first, or get it with "
            "get_agent()"
        ),
    ),
    (
        errors.PoolNotEmptyError("p", 2, {"cpu": 3, "gpu": 0}, {"cpu": 2}),
        "Pool 'p' has 2 agents that hold cpu=3, and would be left with cpu=2; delete agents first, or pass force=True",
    ),
    (
        errors.MeshNotEmptyError(6, ["a", "b"]),
        "The mesh has 6 living agents (a, b, …); delete them first, or pass force=True",
    ),
    (
        errors.AgentSignatureError("w1", "Worker", "got an unexpected keyword argument 'batch'"),
        (
            "Worker.__init__() got an unexpected keyword argument 'batch' (agent 'w1'; the constructor is called as "
            "Worker(name, labels, supervisor, *actor_args, **actor_kwargs))"
        ),
    ),
    (errors.AgentStartError("w1", "ValueError: no model"), "Agent 'w1' did not start: ValueError: no model"),
    (
        errors.AgentStartTimeoutError("w1", 60, "no node has room for cpu=2"),
        "Agent 'w1' was not up after 60 s: no node has room for cpu=2; it was ended and holds nothing",
    ),
    (
        errors.SupervisorNotRunningError("mesh", "ns"),
        "No supervisor 'mesh' in namespace 'ns'; start one with `schedulemesh up` or schedulemesh.connect()",
    ),
    (
        errors.SupervisorUnavailableError("mesh", 2.5, "it is restarting"),
        (
            "Supervisor 'mesh' gave no answer within 2.5 s: it is restarting; "
            "what was asked may have been done: look before asking again"
        ),
    ),
    (
        errors.SupervisorUnavailableError("mesh", 0.0, "record 'x' cannot be read"),
        "Supervisor 'mesh' cannot serve: record 'x' cannot be read",
    ),
    (
        errors.ProtocolMismatchError(2, 1),
        (
            "This client speaks protocol 2, the supervisor protocol 1; install the same schedulemesh version on both sides; "
            "a supervisor runs the version it was started with until its process ends, and comes back with the one that "
            "is installed then"
        ),
    ),
]
ALL_ERRORS = [error for error, _ in EXAMPLES]
BUILTINS = {
    "InvalidRequestError": ValueError,
    "InsufficientPoolCapacityError": ValueError,
    "InsufficientClusterCapacityError": ValueError,
    "NoNodeFitsError": ValueError,
    "PoolNotFoundError": LookupError,
    "AgentNotFoundError": LookupError,
    "AgentSignatureError": TypeError,
    "AgentStartTimeoutError": TimeoutError,
    "SupervisorUnavailableError": TimeoutError,
}


def name_of(error: object) -> str:
    return type(error).__name__ if isinstance(error, Exception) else ""


def test_every_error_has_an_example_here_and_a_public_name() -> None:
    assert {name_of(error) for error in ALL_ERRORS} == set(ERRORS)
    for name, kind in ERRORS.items():
        assert name.endswith("Error")
        assert getattr(schedulemesh, name) is kind
        assert name in schedulemesh.__all__


@pytest.mark.parametrize(("error", "text"), EXAMPLES, ids=name_of)
def test_an_error_says_its_subject_its_numbers_and_what_to_do(error: ScheduleMeshError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("error", ALL_ERRORS, ids=name_of)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_pickles_with_its_fields(error: ScheduleMeshError, protocol: int) -> None:
    copy = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert copy.details() == error.details()
    assert str(copy) == str(error)


@pytest.mark.parametrize("error", ALL_ERRORS, ids=name_of)
def test_an_error_arrives_on_the_other_side_as_it_was(error: ScheduleMeshError) -> None:
    reply = decode_reply(encode_reply(Reply.refused(error)))
    assert reply.refusal is not None
    copy = reply.refusal.as_error()
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    as_sent = {name: list(value) if isinstance(value, tuple) else value for name, value in error.details().items()}
    assert copy.details() == as_sent


@pytest.mark.parametrize("error", ALL_ERRORS, ids=name_of)
def test_an_error_is_also_the_builtin_that_python_users_expect(error: ScheduleMeshError) -> None:
    expected = BUILTINS.get(name_of(error))
    others = {ValueError, LookupError, TypeError, TimeoutError} - {expected}
    assert isinstance(error, ScheduleMeshError)
    assert expected is None or isinstance(error, expected)
    assert not isinstance(error, tuple(others))


def test_an_error_can_be_raised_and_keeps_its_fields() -> None:
    with pytest.raises(ValueError, match="Insufficient pool capacity") as caught:
        raise EXAMPLES[1][0]
    error = caught.value
    assert isinstance(error, errors.InsufficientPoolCapacityError)
    assert (error.short, error.asked["gpu"], error.available["gpu"], error.could_ever_fit) == (["gpu"], 3, 1, True)


def test_what_could_never_fit_says_so() -> None:
    error = errors.InsufficientPoolCapacityError("w", "p", ["cpu"], {"cpu": 9}, {}, {"cpu": 8}, could_ever_fit=False)
    assert str(error).endswith("it would not fit into the empty pool either: ask for less, or resize the pool")


def test_two_errors_of_the_same_content_are_two_errors() -> None:
    one, other = errors.AgentNotFoundError("w"), errors.AgentNotFoundError("w")
    assert one != other
    assert len({one, other}) == 2
