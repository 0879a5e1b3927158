"""The ledger of claims: what the paper and the post say, and what we find, as data.

Each claim has a verdict, our statement with its number, the file that predicts it, the test that
holds it, and one command that shows it. The claims stand in theory/claims.toml, in the order of the
paper; `python -m theory` prints them, theory/README shows them as a table.
"""

from __future__ import annotations

import difflib
import textwrap
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from importlib.resources import files

from theory._checks import require

__all__ = ["Claim", "Verdict", "claims", "find", "markdown", "plain", "whole"]

WIDTH = 100
"""Columns of a terminal that the plain table fits into."""


class Verdict(Enum):
    """What became of a claim."""

    HOLDS = "holds"
    """As it was said, within what was measured."""
    SHARPER = "holds, sharper"
    """And we know more: a constant, an exact form, a condition."""
    ONLY_WHERE = "only where"
    """In the range that the claim's condition names, and not outside it."""
    FAILS = "fails"
    """Refuted."""
    OPEN = "open"
    """A question that was asked, or that we can only measure."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of the paper or of the post, and what we find."""

    name: str
    """Words joined by hyphens, as `python -m theory NAME` takes it."""
    where: str
    """Sections of the paper and of the post."""
    says: str
    """The claim in our words."""
    verdict: Verdict
    condition: str = ""
    """Where it holds; with ONLY_WHERE alone."""
    statement: str
    """What we find, with its number."""
    file: str = ""
    """File of theory that predicts it; none where it was only measured."""
    test: str
    """Node id of the test that holds the verdict."""
    figure: str = ""
    """Name of a figure of paper_figures, if one shows it."""
    document: str
    """Page and heading that say more, from the root of the repository."""
    command: str
    """One line that shows it; ``python`` stands for this interpreter."""
    checkout: bool = False
    """Whether the command is in the repository alone, not in an installed package."""

    def __post_init__(self) -> None:
        has = [f.name for f in fields(self) if f.type == "str" and getattr(self, f.name)]
        missing = {"name", "where", "says", "statement", "test", "document", "command"} - set(has)
        require(not missing, "a text for each", sorted(missing), f"complete claim {self.name!r}")
        only = self.verdict is Verdict.ONLY_WHERE
        require(
            only == bool(self.condition),
            "a condition exactly with 'only where'",
            self.condition,
            f"mend claim {self.name!r}",
        )
        require(
            self.command.startswith("python "),
            "a command that begins with 'python '",
            self.command,
            f"mend claim {self.name!r}",
        )

    @property
    def judged(self) -> str:
        """The verdict with its condition."""
        return f"{self.verdict.value} {self.condition}".strip()


@cache
def claims() -> tuple[Claim, ...]:
    """All claims, in the order of the paper.

    Raises ValueError for a verdict that is none, a text that is missing, or a name given twice.
    """
    text = files("theory").joinpath("claims.toml").read_text(encoding="utf-8")
    found = tuple(
        Claim(**{**row, "verdict": Verdict(row["verdict"])}) for row in tomllib.loads(text)["claim"]
    )
    twice = [name for name, count in Counter(claim.name for claim in found).items() if count > 1]
    require(not twice, "names that differ", twice, "rename one of them in claims.toml")
    return found


def find(name: str) -> Claim:
    """The claim of that name; LookupError, with those of similar names, if there is none."""
    by_name = {claim.name: claim for claim in claims()}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.4)
    near += [known for known in by_name if name in known and known not in near]
    hint = f"did you mean {', '.join(near)}?" if near else "`python -m theory` lists them"
    raise LookupError(f"expected the name of a claim, got {name!r}; {hint}")


def plain() -> str:
    """The ledger as a table in plain text of at most `WIDTH` columns."""
    name, verdict = 30, 20
    says = WIDTH - name - verdict
    lines = [f"{'claim, and where':<{name}}{'verdict':<{verdict}}what is said", "-" * WIDTH]
    for claim in claims():
        left = [claim.name, *textwrap.wrap(claim.where, name - 4)]
        middle = textwrap.wrap(claim.judged, verdict - 2)
        right = textwrap.wrap(claim.says, says)
        for k in range(max(map(len, (left, middle, right)))):
            cells = (column[k] if k < len(column) else "" for column in (left, middle, right))
            first, second, third = cells
            indented = f"  {first}" if k else first
            lines.append(f"{indented:<{name}}{second:<{verdict}}{third}".rstrip())
        lines.append("")
    count = Counter(claim.verdict for claim in claims())
    totals = ", ".join(f"{count[v]} {v.value}" for v in Verdict)
    return "\n".join([*lines, f"{len(claims())} claims: {totals}.", _SHOW])


_SHOW = "`python -m theory NAME` shows one whole, with what we find, and runs its command."


def whole(claim: Claim) -> str:
    """One claim with everything that is said of it, in at most `WIDTH` columns."""
    rows = [
        ("claim", claim.name),
        ("where", claim.where),
        ("says", claim.says),
        ("verdict", claim.judged),
        ("we find", claim.statement),
        ("theory", claim.file or "measured, not predicted"),
        ("test", claim.test),
        ("figure", claim.figure and f"paper_figures/{claim.figure}.png"),
        ("more", claim.document),
        ("command", claim.command + (" (in a checkout)" if claim.checkout else "")),
    ]
    parts = []
    for key, text in rows:
        if text:
            parts += textwrap.wrap(
                text, WIDTH, initial_indent=f"{key:<9}", subsequent_indent=" " * 9,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return "\n".join(parts)


def markdown() -> str:
    """The ledger as the table of theory/README, with links from there."""
    columns = ("claim", "where", "what is said", "verdict", "what we find", "evidence")
    rows = [
        (f"`{c.name}`", c.where, c.says, f"**{c.verdict.value}**{_after(c.condition)}",
         c.statement, _evidence(c))
        for c in claims()
    ]  # fmt: skip
    return "\n".join(_line(row) for row in (columns, ("---",) * len(columns), *rows))


def _after(condition: str) -> str:
    return f" {condition}" if condition else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _evidence(claim: Claim) -> str:
    """Links to theory, test, figure and page."""
    test, _, name = claim.test.partition("::")
    links = [f"[theory]({claim.file.removeprefix('theory/')})"] if claim.file else []
    links.append(f'[test](../{test} "{name}")')
    if claim.figure:
        links.append(f"[figure](../paper_figures/README.md#{claim.figure})")
    page, _, heading = claim.document.partition("#")
    home = "" if page == "theory/README.md" else f"../{page}"
    links.append(f"[more]({home}{'#' if heading else ''}{heading})")
    return ", ".join(links)
