"""The report page of a result: one HTML file with its plots as SVG, and nothing from outside."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import median
from typing import Final

from loadtest.latencies import Latencies
from loadtest.remarks import remarks
from loadtest.results import Result, Round, Sample
from loadtest.seen import Mark, merged

WIDTH: Final = 820
HEIGHT: Final = 240
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 18, 36
COLOURS: Final = ("#0b6e99", "#c2410c", "#3f7d20", "#7c3aed", "#a16207", "#be185d")
LETTER: Final = 7
"""About how wide a letter is."""
QUANTILES: Final = (0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1.0)
Line = list[tuple[float, float]]

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c1917}
body{max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem} h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.15rem .8rem .15rem 0;text-align:left;border-bottom:1px solid #e7e5e4}
td.n{text-align:right} svg{width:100%;height:auto} text{font:12px system-ui,sans-serif;fill:#57534e}
"""


def page(result: Result) -> str:
    """Return the page."""
    title = f"{result.scenario}, {result.started_at}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _facts(result),
        "<h2>Figures</h2>",
        _figures(result.rounds),
        *(f"<p><strong>{escape(text)}</strong></p>" for text in remarks(result)),
    ]
    for number, each in enumerate(result.rounds, start=1):
        name = f"Round {number}" if len(result.rounds) > 1 else "Plots"
        parts += [f"<h2>{name}</h2>", *_plots(each)]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _facts(result: Result) -> str:
    machine, target = result.machine, result.target
    loaded = (
        f"own Sluice ({', '.join(target.parts)}), {target.backend} queue, cores"
        f" {target.server_cores}"
        if target.is_own
        else target.url
    )
    rows = {
        "commit": result.commit,
        "machine": f"{machine.processor}, {machine.cores} cores, {machine.memory_mb:,} MB,"
        f" {machine.system}",
        "versions": ", ".join(f"{name} {text}" for name, text in result.versions.items()),
        "loaded": loaded,
        "generators": f"{target.generators} on cores {target.load_cores}",
    }
    lines = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows.items())
    return f"<table>{''.join(lines)}</table>"


def _figures(rounds: Sequence[Round]) -> str:
    lines = []
    for name in dict.fromkeys(name for each in rounds for name in each.figures):
        values = [each.figures[name] for each in rounds if name in each.figures]
        cells = (median(values), min(values), max(values))
        numbers = "".join(f'<td class="n">{number(value)}</td>' for value in cells)
        lines.append(f"<tr><td>{escape(name)}</td>{numbers}</tr>")
    head = "<tr><th>figure</th><th>median</th><th>least</th><th>most</th></tr>"
    return f"<table>{head}{''.join(lines)}</table>"


def number(value: float) -> str:
    """Return a number with as many digits as say something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _plots(seen: Round) -> list[str]:
    at = [float(second.at) for second in seen.seconds]
    counts = {
        name: list(zip(at, (float(getattr(s, name)) for s in seen.seconds), strict=True))
        for name in ("good", "refused", "unanswered")
        if name == "good" or any(getattr(s, name) for s in seen.seconds)
    }
    times: dict[str, Line] = {"p50": [], "p99": []}
    for second in seen.seconds:
        latencies = Latencies.decode(second.histogram)
        times["p50"].append((second.at, latencies.quantile_ms(0.5)))
        times["p99"].append((second.at, latencies.quantile_ms(0.99)))
    plots = [
        plot("Requests by the second in which they were due", "s", counts, marks=seen.marks),
        plot("Latency from when they were due, ms", "s", times, marks=seen.marks),
        plot(
            "Latency by share of the answers, ms", "quantile", _by_quantile(seen), ticks=QUANTILES
        ),
    ]
    if seen.samples:
        plots.append(plot("Memory, MB", "s", _memory(seen.samples)))
        plots.append(plot("Processor time, cores", "s", _cores(seen.samples)))
    return plots


def _memory(samples: Sequence[Sample]) -> dict[str, Line]:
    lines: dict[str, Line] = {}
    for sample in samples:
        lines.setdefault(sample.process, []).append((sample.at, sample.rss_mb))
    return lines


def _cores(samples: Sequence[Sample]) -> dict[str, Line]:
    lines: dict[str, Line] = {}
    last: dict[str, Sample] = {}
    for sample in samples:
        before = last.get(sample.process)
        if before is not None and sample.at > before.at:
            used = (sample.cpu_s - before.cpu_s) / (sample.at - before.at)
            lines.setdefault(sample.process, []).append((sample.at, used))
        last[sample.process] = sample
    return lines


def _by_quantile(seen: Round) -> dict[str, Line]:
    """Return a line a phase and kind; quantiles are spread evenly, so that the tail is seen."""
    texts: dict[str, list[str]] = {}
    for group in seen.groups:
        texts.setdefault(f"{group.phase}, {group.kind}", []).append(group.histogram)
    return {
        name: [
            (float(index), latencies.quantile_ms(share)) for index, share in enumerate(QUANTILES)
        ]
        for name, same in texts.items()
        for latencies in [merged(same)]
    }


def plot(
    title: str,
    unit: str,
    lines: Mapping[str, Line],
    *,
    ticks: Sequence[float] | None = None,
    marks: Sequence[Mark] = (),
) -> str:
    """Return a plot of lines as SVG.

    Args:
        title: Above it.
        unit: Of the horizontal axis.
        lines: Points by name.
        ticks: Words at 0, 1, 2 … of the horizontal axis; None: whole numbers.
        marks: Where phases begin on the horizontal axis.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    most_x = max(*(x for x, _ in points), *(mark.at + 1 for mark in marks), 1.0)
    most_y = _round_up(max(y for _, y in points))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / most_x * wide, TOP + high - y / most_y * high

    parts = []
    for step in range(5):
        value = most_y * step / 4
        _, y = place(0, value)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e7e5e4"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>'
        )
    words = (
        [(float(i), f"{tick * 100:g} %") for i, tick in enumerate(ticks)]
        if ticks
        else [(x, f"{x:,} {unit}") for x in _whole_ticks(most_x)]
    )
    for x, word in words:
        at, _ = place(x, 0)
        parts.append(
            f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{word}</text>'
        )
    parts += _phases([(mark.phase, place(mark.at, 0)[0]) for mark in marks])
    legend = LEFT + 8
    for index, (name, line) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        # A line of one point would not be seen.
        shown = line if len(line) > 1 else [(x + dx, y) for x, y in line for dx in (0, most_x / 99)]
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in shown)
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>'
            f'<text x="{legend}" y="{HEIGHT - 4}" style="fill:{colour}">{escape(name)}</text>'
        )
        legend += (len(name) + 3) * LETTER
    return (
        f'<h3>{escape(title)}</h3><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _phases(begins: Sequence[tuple[str, float]]) -> list[str]:
    """Return a line where each phase begins, and its name where there is room for it."""
    parts = []
    free = 0.0
    for name, x in begins:
        parts.append(
            f'<line class="phase" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
            ' stroke="#78716c" stroke-dasharray="4 3"/>'
        )
        wide = len(name) * LETTER
        at = min(x + 4, WIDTH - RIGHT - wide)
        if at >= free:
            parts.append(f'<text x="{at:.1f}" y="{TOP - 3}">{escape(name)}</text>')
            free = at + wide
    return parts


def _whole_ticks(most: float) -> list[int]:
    """Return some six whole numbers from 0, evenly apart, none of them twice."""
    step = max(1, round(_round_up(most / 5)))
    return list(range(0, int(most) + 1, step))


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10 … at or above a value; 1 for nothing at all."""
    if not value:
        return 1.0
    scale = 1e-6
    while True:
        for step in (1, 2, 5):
            if step * scale >= value:
                return step * scale
        scale *= 10
