"""Chart of a day, as SVG: streams above, GPUs below."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from benchmarks.scaling_simulation.simulation import Sample

WIDTH, HEIGHT = 760, 520
LEFT, RIGHT, TOP, GAP = 62, 16, 34, 62
PANEL = (HEIGHT - TOP - GAP - 40) / 2


class Line(NamedTuple):
    """One line of a panel, a value for each sample."""

    name: str
    colour: str
    values: Sequence[float]


def chart(samples: Sequence[Sample], title: str) -> str:
    """Return the chart of a day's samples."""
    hours = [sample.hour for sample in samples]
    streams = [
        Line("streams on air", "#888888", [s.wanted for s in samples]),
        Line("with outputs from the model", "#0b6e99", [s.on_model for s in samples]),
    ]
    gpus = [
        Line("GPUs running", "#888888", [s.gpus for s in samples]),
        Line("busy", "#c2410c", [s.busy_gpus for s in samples]),
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' font-family="sans-serif" font-size="12" fill="#333">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_panel(hours, streams, TOP),
        *_panel(hours, gpus, TOP + PANEL + GAP),
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">hour of the day</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(hours: Sequence[float], lines: Sequence[Line], top: float) -> list[str]:
    most = max(max(line.values) for line in lines) or 1.0
    step = _step(most)
    height = step * (int(most / step) + 1)
    width = WIDTH - LEFT - RIGHT

    def x(hour: float) -> float:
        return round(LEFT + width * hour / 24, 1)

    def y(value: float) -> float:
        return round(top + PANEL * (1 - value / height), 1)

    parts = []
    for at in range(int(height / step) + 1):
        value = at * step
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value)}" y2="{y(value)}"'
            ' stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{value:,.0f}</text>'
        )
    for hour in range(0, 25, 4):
        parts.append(
            f'<text x="{x(hour)}" y="{top + PANEL + 16}" text-anchor="middle">{hour}</text>'
        )
    for number, line in enumerate(lines):
        points = " ".join(f"{x(h)},{y(v)}" for h, v in zip(hours, line.values, strict=True))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2"/>'
            f'<text x="{LEFT + 12 + 150 * number}" y="{top - 10}" fill="{line.colour}"'
            f' font-weight="bold">{escape(line.name)}</text>'
        )
    return parts


def _step(most: float) -> float:
    """Return a round step that divides 0 to `most` into three to seven parts."""
    step = 10.0 ** (len(str(int(most))) - 1)
    while most / step < 3:
        step /= 2
    return step if most / step <= 7 else 2 * step
