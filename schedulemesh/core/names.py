"""Names and labels: what may be typed for a pool, an agent, a kind or a label, and how long it may be."""

from __future__ import annotations

import difflib
import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import islice

from schedulemesh.core.errors import InvalidRequestError

MAX_NAME = 255
"""Characters. Names become keys of the GCS store and Ray actor names."""
MAX_LABELS = 64
MAX_LABEL_VALUE = 4096
_SEARCHED = 200
_COMPARED = 64
"""Names looked at for a close match, and their length: bounded, so that a typo costs little in a mesh of any size."""


def check_name(name: object, what: str) -> str:
    """Return the name; raise InvalidRequestError for what is empty, too long, or has `/` or control characters."""
    if type(name) is str and _plain(name):
        return name
    if not isinstance(name, str):
        raise InvalidRequestError(field=what, problem=f"must be a string, not {type(name).__name__}")
    name = str.__str__(name)  # of a subclass (an enum, say) the text alone: only that can be sent
    if not name.strip():
        raise InvalidRequestError(field=what, problem="must not be empty")
    if name != name.strip():
        raise InvalidRequestError(field=what, problem=f"{name[:40]!r} begins or ends with white space")
    if len(name) > MAX_NAME:
        raise InvalidRequestError(field=what, problem=f"has {len(name):,} characters, the limit is {MAX_NAME}")
    for character in name:
        # Cc: controls, Cs: lone surrogates (not encodable), Zl/Zp: line breaks that would split a log line.
        if character == "/" or unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}:
            raise InvalidRequestError(field=what, problem=f"{name[:40]!r} contains {character!r}, which is not allowed")
    return name


def check_labels(labels: object, what: str) -> dict[str, str]:
    """Return the labels as a dict of strings; raise InvalidRequestError for anything else."""
    if labels is None:
        return {}
    if not isinstance(labels, (dict, Mapping)):  # the dict first: to ask an abstract class takes longer
        raise InvalidRequestError(field=what, problem=f"must be a dict of strings, not {type(labels).__name__}")
    # A user's mapping may never end.
    plain = labels if type(labels) is dict else dict(islice(labels.items(), MAX_LABELS + 1))
    if len(plain) > MAX_LABELS:
        raise InvalidRequestError(field=what, problem=f"has more than {MAX_LABELS} entries, which is the limit")
    checked: dict[str, str] = {}
    for given, value in plain.items():
        if type(given) is str and _plain(given) and type(value) is str and value.isascii() and len(value) <= MAX_NAME:
            checked[given] = value  # as nearly all are
        else:
            key = _check_label_key(given, what)
            checked[key] = _check_label_value(value, f"{what}[{key!r}]")
    return checked


def close_matches(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Known names close to a mistyped one, best first; looks at a bounded number of them."""
    candidates = [other for other in islice(known, _SEARCHED) if len(other) <= _COMPARED]
    return difflib.get_close_matches(name[:_COMPARED], candidates, n=limit, cutoff=0.6)


def launcher_name(mesh: str, environment_key: str) -> str:
    """The Ray name of an environment's launcher, in the mesh's namespace; with an empty key, what all begin with."""
    return f"{mesh}:launcher:{environment_key[:16]}"


def mesh_label(mesh: str, namespace: str) -> str:
    """What marks the actors of a mesh in Ray's actor table: a label value, which Ray wants short and plain."""
    return hashlib.sha256(f"{namespace}/{mesh}".encode()).hexdigest()[:32]


def _plain(name: str) -> bool:
    """Whether it is a name beyond doubt, found without looking at each character in Python; nearly all are."""
    # What can be printed is neither a control character, a lone surrogate nor a line break.
    return 0 < len(name) <= MAX_NAME and name.isprintable() and "/" not in name and name == name.strip()


def _check_label_key(key: object, what: str) -> str:
    # A label key may hold `/`, as Kubernetes' do (`example.com/team`).
    check_name(str.replace(key, "/", "-") if isinstance(key, str) else key, f"a key in {what}")
    return str.__str__(key)


def _check_label_value(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequestError(field=what, problem=f"must be a string, not {type(value).__name__}")
    if len(value) > MAX_LABEL_VALUE:
        raise InvalidRequestError(
            field=what, problem=f"has {len(value):,} characters, the limit is {MAX_LABEL_VALUE:,}"
        )
    if not _encodable(value):
        raise InvalidRequestError(field=what, problem="is not valid unicode")
    return str.__str__(value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
