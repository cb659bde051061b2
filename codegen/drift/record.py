"""The record of known differences: the blocks of openapi/PROVENANCE.md marked `drift`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import InputError

if TYPE_CHECKING:
    from .compare import Difference

# A paragraph with a reason ends with its confidence.
REASON = re.compile(r"\([SCI\u2013](?:, [SCI])*\)\.?$")


@dataclass(frozen=True)
class Explanation:
    """A line of the record."""

    line: str

    def explains(self, difference: Difference) -> bool:
        """Whether the line matches the difference."""
        place = self.line.removesuffix(f": {difference.text}")
        if place == self.line:
            return False
        pattern = ".*".join(re.escape(part) for part in place.split("*"))
        return re.fullmatch(pattern, difference.place) is not None


def read_record(text: str) -> list[Explanation]:
    """The lines of the blocks marked `drift`.

    Raises:
        InputError: A block has no reason above it, or no end.
    """
    explanations: list[Explanation] = []
    inside, before = False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line == "```drift":
            if not REASON.search(before):
                raise InputError(
                    f"line {number}: the block needs a reason with its letter above it"
                )
            inside = True
        elif line == "```":
            inside = False
        elif inside and line:
            explanations.append(Explanation(line))
        before = line or before
    if inside:
        raise InputError("the last block has no end")
    return explanations
