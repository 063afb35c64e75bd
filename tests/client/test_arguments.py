"""Arguments: whatever is passed is read as plain data, or refused with an error that names it and can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from odd_values import SPECIAL, Odd, Shifting, Texts, odd_values

from schedulemesh.client import arguments, payload
from schedulemesh.core.brief import brief
from schedulemesh.core.errors import AgentSignatureError, InvalidRequestError

READERS: dict[str, Callable[[Any, str], Any]] = {
    "check_name": arguments.check_name,
    "check_labels": arguments.check_labels,
    "amounts": arguments.amounts,
    "whole": arguments.whole,
    "seconds": arguments.seconds,
    "flag": arguments.flag,
    "sequence": arguments.sequence,
    "batch": arguments.batch,
    "keywords": arguments.keywords,
    "plain_options": payload.plain_options,
    "plain_class": lambda given, _: payload.plain_class(given),
    "name_of": lambda given, _: payload.name_of(payload.plain_class(given)[0]),
    "pickle_class": lambda given, _: payload.pickle_class(given),
    "pickle_arguments": lambda given, _: payload.pickle_arguments(None, [given], {}),
    "check_signature": lambda given, _: payload.check_signature("w", payload.plain_class(given)[0], (), {}),
}
SENT_AS_IT_IS = ("check_name", "check_labels", "amounts", "whole", "seconds", "flag", "plain_options", "name_of")


def read(reader: str, value: Any) -> Any:
    """What is read; None if it was refused as it should be."""
    try:
        return READERS[reader](value, "x")
    except (InvalidRequestError, AgentSignatureError) as error:
        text = str(error)
        text.encode()
        assert 0 < len(text) < 2000
        assert "\n" not in text
        return None


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", SPECIAL)
def test_whatever_is_passed_is_read_or_refused(reader: str, what: str) -> None:
    taken = read(reader, SPECIAL[what]())
    if reader in SENT_AS_IT_IS:
        msgspec.msgpack.encode(taken)


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(value=odd_values)
def test_so_is_what_is_made_of_it(reader: str, value: Odd) -> None:
    taken = read(reader, value.make())
    if reader in SENT_AS_IT_IS:
        msgspec.msgpack.encode(taken)


def test_text_that_is_more_than_text_is_taken_as_the_text_it_is() -> None:
    assert type(arguments.check_name(Texts.ONE, "name")) is str
    labels = arguments.check_labels({Texts.ONE: Texts.ONE}, "labels")
    assert [(type(key), type(value)) for key, value in labels.items()] == [(str, str)]
    assert labels == {"one": "one"}


def test_a_mapping_is_looked_at_once_so_that_what_is_sent_is_what_was_checked() -> None:
    for _ in range(50):
        read("check_labels", Shifting())
        amounts = read("amounts", Shifting())
        assert amounts is None or all(isinstance(amount, float) for amount in amounts.values())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", r"'a\nb'"),
        (10**10_000, "<int>"),
        ("x" * 1000, "'" + "x" * 59 + "…"),
        ("\ud800", r"'\ud800'"),
        (SPECIAL["hostile"](), "<Hostile>"),
        (SPECIAL["a hostile error"](), "<HostileError>"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "value",
)
def test_a_value_in_an_error_is_a_few_characters_in_one_line(value: object, text: str) -> None:
    assert brief(value) == text
