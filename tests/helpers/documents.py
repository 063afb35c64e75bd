"""Documents as programs: their code blocks, their headings, and the script that runs a whole document."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "agent-configuration-guide.md"
GUIDE_ZH = ROOT / "docs" / "agent-configuration-guide.zh.md"
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*) *$")
_PRINTS = re.compile(r"^ *# → (?P<text>.+?)\s*$")


class Block(NamedTuple):
    """One fenced block; `line` is the number of its first line of code."""

    language: str
    line: int
    code: str


def blocks(document: Path, language: str) -> list[Block]:
    found: list[Block] = []
    lines = document.read_text(encoding="utf-8").splitlines()
    opened: tuple[str, int] | None = None
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if opened is None:
            opened = fence["language"], number
        else:
            code = textwrap.dedent("\n".join(lines[opened[1] : number - 1]))
            found.append(Block(opened[0], opened[1] + 1, code))
            opened = None
    assert opened is None, f"{document.name}:{opened} is never closed"
    return [block for block in found if block.language == language]


def script(document: Path) -> str:
    """All python blocks in order; every line keeps its number, so that a traceback points into the document."""
    lines = [""] * len(document.read_text(encoding="utf-8").splitlines())
    for block in blocks(document, "python"):
        code = block.code.splitlines()
        lines[block.line - 1 : block.line - 1 + len(code)] = code
    return "\n".join(lines) + "\n"


def blocks_of_its_own(document: Path, other: Path) -> list[str]:
    """The document's python blocks that are another program than those in their place in the other one."""
    pairs = zip(blocks(document, "python"), blocks(other, "python"), strict=True)
    return [one.code for one, there in pairs if ast.dump(ast.parse(one.code)) != ast.dump(ast.parse(there.code))]


def promised_output(document: Path) -> list[str]:
    """What the document says that its blocks print, in order: the comments that begin with an arrow."""
    return [found["text"] for line in script(document).splitlines() if (found := _PRINTS.match(line))]


def prose(document: Path) -> str:
    """The document without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *``` *$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def headings(document: Path) -> list[tuple[int, str]]:
    return [(len(marks), text) for marks, text in re.findall(r"^(#+) (.+?)\s*$", prose(document), flags=re.MULTILINE)]


def anchors(document: Path) -> set[str]:
    """The ids that a link into the document may name, as GitHub makes them of headings, and explicit ones."""
    made = (re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _, text in headings(document))
    return {*made, *re.findall(r'<a id="([^"]+)">', document.read_text(encoding="utf-8"))}


class _WithoutWords(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        is_words = isinstance(node.value, str) and (not node.value.isascii() or " " in node.value)
        return ast.Constant("words") if is_words else node


def meaning(code: str) -> str:
    """The code without comments, layout and words for people: what two languages of one document share."""
    return ast.dump(_WithoutWords().visit(ast.parse(code)))
