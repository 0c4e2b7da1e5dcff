# SPDX-License-Identifier: Apache-2.0
"""The README's table of ratios as bars, in SVG."""
import html
import re

ROW = re.compile(r"^\| ([^|]+) \| (\d\.\d\d) \| ([^|]+) \|$", re.MULTILINE)
LABELS, WIDTH, ROW_HEIGHT, TOP = 400, 360, 26, 24


def plot(readme):
    rows = ROW.findall(readme)
    height = TOP + ROW_HEIGHT * len(rows) + 8
    one = LABELS + WIDTH / 1.1  # the axis ends at 1.1
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABELS + WIDTH + 60}" height="{height}" '
             'font-family="sans-serif" font-size="13">',
             '<rect width="100%" height="100%" fill="#ffffff"/>',
             f'<text x="{one:.0f}" y="15" text-anchor="middle" fill="#555555">the ceiling</text>']
    for number, (label, ratio, _) in enumerate(rows):
        y, width = TOP + ROW_HEIGHT * number, float(ratio) * WIDTH / 1.1
        lines.append(f'<text x="{LABELS - 8}" y="{y + 17}" text-anchor="end" fill="#222222">'
                     f'{html.escape(label.strip())}</text>')
        lines.append(f'<rect x="{LABELS}" y="{y + 4}" width="{width:.1f}" height="18" fill="#3b6ea5"/>')
        end = LABELS + width - 6
        lines.append(f'<text x="{end:.1f}" y="{y + 17}" text-anchor="end" fill="#ffffff">'
                     f'{ratio}</text>')
    lines.append(f'<line x1="{one:.0f}" y1="20" x2="{one:.0f}" y2="{height - 6}" stroke="#b03030" '
                 'stroke-dasharray="4 3"/>')
    return "\n".join([*lines, "</svg>", ""])
