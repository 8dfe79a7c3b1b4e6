"""Pictures of results, as SVG written by hand: bars, and curves over a growing number."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

WIDTH: Final = 720
_LEFT: Final = 210
_MARGIN: Final = 24
_BAR: Final = 26
_GAP: Final = 12
_TITLE: Final = 44
_PLOT: Final = 170
_INK, _PALE, _BLUE, _GREY = "#1f2933", "#d8dee6", "#2f6fb3", "#9aa5b1"


class Bar(NamedTuple):
    """A bar: what it is of, and how long."""

    label: str
    value: float
    ours: bool = True
    """Whether it is of Meterhouse; the others are grey."""


class Curve(NamedTuple):
    """Points over the same horizontal axis, in a plot of their own."""

    title: str
    points: Sequence[tuple[float, float]]


def bars(title: str, shown: Sequence[Bar]) -> str:
    """Bars under one another, each with its value."""
    longest = max(bar.value for bar in shown)
    room = WIDTH - _LEFT - _MARGIN - 70
    parts = [_text(_MARGIN, 28, title, size=16, weight="600")]
    for place, bar in enumerate(shown):
        top = _TITLE + place * (_BAR + _GAP)
        long = room * bar.value / longest
        parts += [
            _text(_LEFT - 10, top + 18, bar.label, anchor="end"),
            f'<rect x="{_LEFT}" y="{top}" width="{long:.1f}" height="{_BAR}" fill="{_BLUE if bar.ours else _GREY}"/>',
            _text(_LEFT + long + 8, top + 18, f"{bar.value:,.0f}"),
        ]
    return _svg(_TITLE + len(shown) * (_BAR + _GAP) + _MARGIN // 2, parts, title)


def curves(title: str, axis: str, shown: Sequence[Curve]) -> str:
    """Plots under one another, over one horizontal axis from 0; every vertical axis begins at 0 too."""
    furthest = max(x for curve in shown for x, _ in curve.points)
    parts = [_text(_MARGIN, 28, title, size=16, weight="600")]
    for place, curve in enumerate(shown):
        parts += _plot(curve, _TITLE + place * (_PLOT + 64) + 20, furthest)
    bottom = _TITLE + len(shown) * (_PLOT + 64)
    parts.append(_text(WIDTH - _MARGIN, bottom + 2, axis, anchor="end"))
    return _svg(bottom + _MARGIN, parts, title)


def _plot(curve: Curve, top: int, furthest: float) -> list[str]:
    left, right, bottom = 76, WIDTH - _MARGIN, top + _PLOT
    ceiling = _step(max(y for _, y in curve.points)) * math.ceil(
        max(y for _, y in curve.points) / _step(max(y for _, y in curve.points))
    )
    parts = [_text(_MARGIN, top - 8, curve.title, weight="600")]
    for x, y, text, anchor in (
        *((left - 8, _up(value, ceiling, top) + 4, f"{value:,.4g}", "end") for value in _ticks(ceiling)),
        *((_across(value, furthest), bottom + 18, f"{value:,.4g}", "middle") for value in _ticks(furthest)),
    ):
        parts.append(_text(x, y, text, anchor=anchor))
    parts += [
        f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="{_PALE}"/>'
        for y in (_up(value, ceiling, top) for value in _ticks(ceiling))
    ]
    line = " ".join(f"{_across(x, furthest):.1f},{_up(y, ceiling, top):.1f}" for x, y in curve.points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{_BLUE}" stroke-width="2"/>')
    parts += [
        f'<circle cx="{_across(x, furthest):.1f}" cy="{_up(y, ceiling, top):.1f}" r="3" fill="{_BLUE}"/>'
        for x, y in curve.points
    ]
    return parts


def _across(value: float, furthest: float) -> float:
    return 76 + (WIDTH - _MARGIN - 76) * value / furthest


def _up(value: float, ceiling: float, top: int) -> float:
    return top + _PLOT * (1 - value / ceiling)


def _ticks(furthest: float) -> list[float]:
    step = _step(furthest)
    return [number * step for number in range(int(furthest / step + 1e-9) + 1)]


def _step(furthest: float) -> float:
    """A round step (1, 2 or 5 with zeros) that makes about five of the whole."""
    rough = furthest / 5
    power = 10 ** math.floor(math.log10(rough))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.99))


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )


def _svg(height: int, parts: Sequence[str], title: str) -> str:
    inner = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" fill="{_INK}" role="img">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n{inner}\n</svg>\n'
    )
