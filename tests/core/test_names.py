"""Names and labels: what may be typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulemesh.core.errors import InvalidRequestError
from schedulemesh.core.names import (
    MAX_LABEL_VALUE,
    MAX_LABELS,
    MAX_NAME,
    check_labels,
    check_name,
    close_matches,
    launcher_name,
)


@pytest.mark.parametrize("name", ["a", "ml-pool", "模型池", "a b", "é", "🚀", "x" * MAX_NAME, "a.b:c@d", "-", "0"])
def test_a_name_may_be_nearly_anything(name: str) -> None:
    assert check_name(name, "pool name") == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "must not be empty"),
        ("   ", "must not be empty"),
        (" a", "begins or ends with white space"),
        ("a\n", "begins or ends with white space"),
        ("x" * (MAX_NAME + 1), "has 256 characters, the limit is 255"),
        ("x" * 10_000_000, "has 10,000,000 characters"),
        ("a/b", "contains '/'"),
        ("a\x00b", "contains '\\x00'"),
        ("a\nb", "contains '\\n'"),
        ("a\x7fb", "not allowed"),
        ("a\x85b", "not allowed"),
        ("a\u2028b", "not allowed"),
        ("a\ud800b", "not allowed"),
        (7, "must be a string, not int"),
        (None, "must be a string, not NoneType"),
        (b"a", "must be a string, not bytes"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_bad_name_is_refused_and_says_why(name: object, says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_name(name, "pool name")
    assert caught.value.field == "pool name"
    assert says in caught.value.problem
    assert len(str(caught.value)) < 300


@given(text=st.text(max_size=300))
def test_what_is_accepted_is_safe_in_a_key_and_in_a_log_line(text: str) -> None:
    try:
        name = check_name(text, "name")
    except InvalidRequestError:
        return
    assert name.encode()
    assert "/" not in name
    assert len(name.splitlines()) == 1
    assert 0 < len(name) <= MAX_NAME


def test_labels_are_a_dict_of_strings_and_may_be_left_out() -> None:
    given_labels = {"team": "ml", "example.com/owner": "", "说明": "x" * MAX_LABEL_VALUE}
    assert check_labels(given_labels, "labels") == given_labels
    assert check_labels(None, "labels") == {}


def test_labels_are_copied() -> None:
    given_labels = {"team": "ml"}
    check_labels(given_labels, "labels")["team"] = "other"
    assert given_labels == {"team": "ml"}


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("team=ml", "labels: must be a dict of strings, not str"),
        ({"a": 1}, "labels['a']: must be a string, not int"),
        ({1: "a"}, "a key in labels: must be a string, not int"),
        ({"": "a"}, "a key in labels: must not be empty"),
        ({"a\nb": "c"}, "a key in labels"),
        ({"a": "x" * (MAX_LABEL_VALUE + 1)}, "labels['a']: has 4,097 characters, the limit is 4,096"),
        ({"a": "\ud800"}, "labels['a']: is not valid unicode"),
        ({str(number): "" for number in range(MAX_LABELS + 1)}, "labels: has more than 64 entries, which is the limit"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_bad_labels_are_refused(labels: object, says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_labels(labels, "labels")
    assert says in str(caught.value)


def test_close_matches_come_best_first_and_only_when_close() -> None:
    assert close_matches("trainin", ["serving", "training", "training2"]) == ["training", "training2"]
    assert close_matches("zzz", ["serving", "training"]) == []


def test_the_search_for_a_close_match_is_bounded() -> None:
    looked_at = []

    def known() -> object:
        for number in range(1_000_000):
            looked_at.append(number)
            yield f"agent-{number}"

    close_matches("agent-x", known())  # type: ignore[arg-type]
    assert len(looked_at) <= 1001


def test_a_launcher_has_a_name_of_its_own_for_each_environment() -> None:
    assert len({launcher_name("mesh", key) for key in ("", "a" * 64, "b" * 64)}) == 3
