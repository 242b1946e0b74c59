"""A plot as SVG, without a library: one line over a logarithmic axis."""

import math
from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 320, 70, 50, 30
STYLE = 'font-family="sans-serif" font-size="12" fill="#444"'


def line(path: Path, title: str, x_label: str, points: Sequence[tuple[int, float]]) -> None:
    """Write a plot of `points`, x by powers of two, y from nought."""
    top = 10 ** math.floor(math.log10(max(y for _, y in points)))
    top *= math.ceil(max(y for _, y in points) / top)
    first, last = math.log2(points[0][0]), math.log2(points[-1][0])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log2(x) - first) / (last - first)
        return LEFT + across * (WIDTH - LEFT - 30), HEIGHT - BOTTOM - y / top * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" {STYLE}>{title}</text>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle" {STYLE}>{x_label}</text>',
    ]
    for step in range(5):
        value = top * step / 4
        _, y = place(points[0][0], value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 30}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" {STYLE}>{value:,.0f}</text>')
    for x, _ in points:
        across, _ = place(x, 0)
        parts.append(
            f'<text x="{across:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" {STYLE}>{x}</text>'
        )
    places = [place(x, y) for x, y in points]
    track = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f'<polyline points="{track}" fill="none" stroke="#0a6" stroke-width="2"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#0a6"/>' for x, y in places]
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")
