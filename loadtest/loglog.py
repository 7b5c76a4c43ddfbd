"""A plot with logarithmic axes as an SVG of its own, for pages of the docs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from loadtest.page import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, number

TITLE_HIGH: Final = 24
_FONT: Final = 'font-family="system-ui,sans-serif" font-size="12" fill="#57534e"'


@dataclass(frozen=True, slots=True)
class Point:
    """One measured value with its spread; all are above 0."""

    x: float
    y: float
    least: float
    most: float


def loglog(title: str, unit: str, lines: Mapping[str, Sequence[Point]]) -> str:
    """Return a plot in which a power law is a straight line, with bars from least to most.

    Args:
        title: Above it; says what the vertical axis is.
        unit: Of the horizontal axis.
        lines: Points by name.
    """
    points = [point for line in lines.values() for point in line]
    xs = sorted({point.x for point in points})
    least_x, most_x = math.log10(xs[0]), math.log10(xs[-1])
    floor = math.floor(math.log10(min(point.least for point in points)))
    ceiling = math.ceil(math.log10(max(point.most for point in points)))
    ceiling = max(ceiling, floor + 1)
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def across(x: float) -> float:
        return LEFT + (math.log10(x) - least_x) / (most_x - least_x) * (wide - 24) + 12

    def up(y: float) -> float:
        share = (math.log10(y) - floor) / (ceiling - floor)
        return TITLE_HIGH + TOP + high * (1 - share)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + TITLE_HIGH}"'
        f' role="img" aria-label="{escape(title)}">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" {_FONT} font-weight="bold">{escape(title)}</text>',
    ]
    for power in range(floor, ceiling + 1):
        y = up(10.0**power)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e7e5e4"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" {_FONT}>'
            f"{number(10.0**power)}</text>"
        )
    foot = TITLE_HIGH + HEIGHT - BOTTOM + 16
    parts += [
        f'<text x="{across(x):.1f}" y="{foot}" text-anchor="middle" {_FONT}>{x:,.0f}</text>'
        for x in xs
    ]
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{foot + 16}" text-anchor="end" {_FONT}>{escape(unit)}</text>'
    )
    for index, (name, line) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{across(point.x):.1f},{up(point.y):.1f}" for point in line)
        parts.append(f'<polyline fill="none" stroke="{colour}" points="{path}"/>')
        for point in line:
            x = f"{across(point.x):.1f}"
            parts.append(
                f'<circle cx="{x}" cy="{up(point.y):.1f}" r="2.5" fill="{colour}"/>'
                f'<line x1="{x}" x2="{x}" y1="{up(point.least):.1f}" y2="{up(point.most):.1f}"'
                f' stroke="{colour}"/>'
            )
        parts.append(
            f'<text x="{LEFT + index * 260}" y="{foot + 16}" {_FONT} style="fill:{colour}">'
            f"{escape(name)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])
