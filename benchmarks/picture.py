"""How time grows with size, as a picture: a line for each kind of work, both axes logarithmic."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Points = Sequence[tuple[int, float]]

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 90, 210, 20, 60
COLORS = ("#3f6fae", "#4c8a54", "#b3503f", "#8a5aa8", "#b0862c")
STYLE = """
  text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1c2733; }
  .grid { stroke: #d5dde4; }
  .line { fill: none; stroke-width: 2; }
  .ground { fill: #f7f9fb; }
  @media (prefers-color-scheme: dark) {
    text { fill: #dbe3ea; }
    .grid { stroke: #3a444d; }
    .ground { fill: #171c21; }
    .line, .name { filter: brightness(1.4); }
  }
"""


def draw(title: str, series: Mapping[str, Points]) -> str:
    """Draw series of (size, seconds) as SVG.

    Args:
        title: The title, for readers who don't see the picture.
        series: The points of each line, by its name.
    """
    sizes = [log10(size) for points in series.values() for size, _ in points]
    times = [log10(seconds) for points in series.values() for _, seconds in points]
    columns = range(floor(min(sizes)), ceil(max(sizes)) + 1)
    rows = range(floor(min(times)), ceil(max(times)) + 1)

    def x(size: float) -> float:
        span = WIDTH - LEFT - RIGHT
        return LEFT + (log10(size) - columns[0]) / (len(columns) - 1) * span

    def y(seconds: float) -> float:
        span = HEIGHT - TOP - BOTTOM
        return HEIGHT - BOTTOM - (log10(seconds) - rows[0]) / (len(rows) - 1) * span

    right, bottom = x(10 ** columns[-1]), y(10 ** rows[0])
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{title}">',
        f"<title>{title}</title>\n<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="10"/>',
    ]
    for power in columns:
        at = x(10**power)
        lines.append(f'<path class="grid" d="M{at:.1f} {TOP}V{bottom:.1f}"/>')
        label = f"{10**power:,}"
        lines.append(
            f'<text x="{at:.1f}" y="{bottom + 20:.1f}" text-anchor="middle">{label}</text>'
        )
    for power in rows:
        at = y(10**power)
        lines.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{right:.1f}"/>')
        label = f"{10.0**power:g} s"
        lines.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    middle = (LEFT + right) / 2
    lines.append(
        f'<text x="{middle:.1f}" y="{HEIGHT - 14}" text-anchor="middle">jobs, lines or requests</text>'
    )
    label_y = -100.0
    ordered = sorted(series.items(), key=lambda item: item[1][-1][1], reverse=True)
    for color, (name, points) in zip(COLORS, ordered, strict=False):
        path = "L".join(f"{x(size):.1f} {y(seconds):.1f}" for size, seconds in points)
        lines.append(f'<path class="line" d="M{path}" stroke="{color}"/>')
        label_y = max(label_y + 18, y(points[-1][1]) + 4)
        at = right + 8
        label = f'<text class="name" x="{at:.1f}" y="{label_y:.1f}" style="fill:{color}">'
        lines.append(f"{label}{name}</text>")
    return "\n".join([*lines, "</svg>\n"])
