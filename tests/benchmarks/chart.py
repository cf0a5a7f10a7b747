"""The chart: two panels of bars as an SVG that reads on a light and on a dark page."""

from html import escape

from tests.benchmarks.systems import SYSTEMS

WIDTH, LABELS, FIGURES = 760, 270, 120
BAR, GAP, HEAD = 20, 8, 34
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 }
.ours { fill: #0969da } .peer { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .ours { fill: #58a6ff } .peer { fill: #6e7681 }
}
"""


def draw(results):
    """Return the SVG of {name: figures}."""
    panels = [
        ("Drain: rows/s with two worker processes (more is better)", "drain", "{:.0f}"),
        ("Latency: ms from save() to DONE, p50 (less is better)", "p50", "{:.1f}"),
    ]
    shapes, top = [], 0
    for head, figure, form in panels:
        found = {name: one[figure] for name, one in results.items() if figure in one}
        if found:
            shapes += panel(head, found, form, top)
            top += HEAD + len(found) * (BAR + GAP) + 16
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">']
        + ["<title>Drain rates and latencies</title>", f"<style>{STYLE}</style>"]
        + [*shapes, "</svg>\n"]
    )


def panel(head, found, form, top):
    """Draw one figure's bars; what is far beyond all others is cut off, with a mark."""
    longest = scale_of(sorted(found.values()))
    yield f'<text class="head" x="0" y="{top + 18}">{escape(head)}</text>'
    for number, (name, value) in enumerate(found.items()):
        y = top + HEAD + number * (BAR + GAP)
        room = WIDTH - LABELS - FIGURES
        width = max(min(value / longest, 1) * room, 1)
        kind = "ours" if SYSTEMS[name].side == "ours" else "peer"
        text = form.format(value) + (" (cut off)" if value > longest else "")
        yield f'<text x="0" y="{y + 15}">{escape(SYSTEMS[name].title)}</text>'
        yield (
            f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'
        )
        yield f'<text x="{LABELS + width + 6:.1f}" y="{y + 15}">{text}</text>'


def scale_of(values):
    if len(values) > 1 and values[-1] > 5 * values[-2]:
        return values[-2] * 1.5
    return values[-1]
