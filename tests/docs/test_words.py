"""The words for users, held against each other and against the code. No Ray is started."""

from __future__ import annotations

import ast
import inspect
import re
from typing import TYPE_CHECKING

import pytest
from documents import GUIDE, GUIDE_ZH, README, ROOT, anchors, blocks, headings, meaning, prose

from schedulemesh.client.scheduler import Scheduler
from schedulemesh.core.errors import ERRORS
from schedulemesh.core.options import DEFAULTS, RESOURCE_OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

GUIDES = [GUIDE, GUIDE_ZH]
DOCUMENTS = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
each_guide = pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)


def test_both_guides_have_the_same_code() -> None:
    english, chinese = (blocks(guide, "python") for guide in GUIDES)
    for one, other in zip(english, chinese, strict=True):
        assert meaning(one.code) == meaning(other.code), f"{GUIDE.name}:{one.line} and {GUIDE_ZH.name}:{other.line}"


def test_both_guides_have_the_same_shape() -> None:
    """The same headings at the same levels, tables of the same length, and as many notes."""
    english, chinese = (
        (
            [level for level, _ in headings(guide)],
            [len(table.splitlines()) for table in re.findall(r"(?:^\|.*\n)+", prose(guide), flags=re.MULTILINE)],
            prose(guide).count("\n> **"),
        )
        for guide in GUIDES
    )
    assert english == chinese


@each_guide
def test_the_table_of_options_has_their_defaults(guide: Path) -> None:
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (\S+) \|", prose(guide), flags=re.MULTILINE)
    told = {name: None if default == "-" else ast.literal_eval(default) for name, default in rows}
    known = {**dict.fromkeys(RESOURCE_OPTIONS), "resources": {}, **DEFAULTS}
    assert told == known


@each_guide
def test_the_signature_is_that_of_the_method(guide: Path) -> None:
    (shown,) = (b.code for b in blocks(guide, "python") if "def create_agent(" in b.code)
    (function,) = (node for node in ast.parse(shown).body if isinstance(node, ast.FunctionDef))
    real = [p for p in inspect.signature(Scheduler.create_agent).parameters.values() if p.name != "self"]
    assert [a.arg for a in function.args.args] == [p.name for p in real if p.kind is not p.KEYWORD_ONLY]
    assert [a.arg for a in function.args.kwonlyargs] == [p.name for p in real if p.kind is p.KEYWORD_ONLY]
    defaults = [ast.literal_eval(default) for default in function.args.kw_defaults if default is not None]
    assert defaults == [p.default for p in real if p.kind is p.KEYWORD_ONLY]


@each_guide
def test_every_error_is_explained_with_what_else_it_is(guide: Path) -> None:
    rows = re.findall(r"^\| ((?:`\w+Error`[,、 ]*)+) \| (\S+) \|", prose(guide), flags=re.MULTILINE)
    told = {name: builtin.strip("`") for names, builtin in rows for name in re.findall(r"`(\w+)`", names)}
    builtins = {name: [c.__name__ for c in kind.__mro__ if c.__module__ == "builtins"] for name, kind in ERRORS.items()}
    plain = ("Exception", "BaseException", "OSError", "object")
    assert told == {name: next((c for c in kinds if c not in plain), "-") for name, kinds in builtins.items()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(document)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_chinese_guide_finds_the_pools_section() -> None:
    assert "../README.md#资源池管理" in GUIDE_ZH.read_text(encoding="utf-8")
    assert "资源池管理" in anchors(README)


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, *sorted((ROOT / "examples").glob("*.py"))], ids=lambda path: path.name
)
def test_no_machine_is_named(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert not re.search(r"/home/|/root/|/work/|/tmp/|\b(?:\d{1,3}\.){3}\d{1,3}\b", text)


def test_every_example_is_linked() -> None:
    linked = set(re.findall(r"\(examples/(\w+\.py)\)", README.read_text(encoding="utf-8")))
    assert linked == {file.name for file in (ROOT / "examples").glob("*.py")}
