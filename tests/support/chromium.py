"""Pages as a reader sees them: what headless Chromium makes of them, in a width and a theme."""

import json
import subprocess
from html import escape
from pathlib import Path
from typing import Any

BROWSER = "chromium-headless-shell"  # in Debian's package of that name

# Runs inside the page: how wide it is, and the least contrast of its text (WCAG 2.1, 1.4.3).
_LOOK = """
const luminance = c => {
  const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const colour = text => text.match(/[\\d.]+/g).map(Number);
const behind = node => {
  for (; node; node = node.parentElement) {
    const c = colour(getComputedStyle(node).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3);
  }
  return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255];
};
const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let faint = [];
while (words.nextNode()) {
  const node = words.currentNode.parentElement;
  if (!words.currentNode.data.trim() || !node.getClientRects().length) continue;
  const [a, b] = [colour(getComputedStyle(node).color).slice(0, 3), behind(node)].map(luminance);
  const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (contrast < 4.5) faint.push(words.currentNode.data.trim() + ' ' + contrast.toFixed(1));
}
const page = {
  wide: document.documentElement.scrollWidth,
  dark: matchMedia('(prefers-color-scheme: dark)').matches,
  faint,
};
parent.document.title = JSON.stringify(page);
"""


def look(page: str, width: int, *, dark: bool, folder: Path, height: int = 1600) -> dict[str, Any]:
    """Return how `page` (HTML) looks at `width` CSS pixels; a picture of it is in `folder`.

    `wide`: how wide it is laid out; `dark`: whether it knows that the reader wants it dark;
    `faint`: each text whose contrast with what is behind it is below 4.5.
    """
    framed = escape(page.replace("</body>", f"<script>{_LOOK}</script></body>"))
    frame = folder / "frame.html"
    frame.write_text(
        f'<body style="margin:0"><iframe srcdoc="{framed}" width="{width}" height="{height}"'
        ' style="border:0"></iframe></body>'
    )
    theme = "dark" if dark else "light"
    shown = _chromium(
        frame,
        (width, height),
        int(not dark),
        f"--screenshot={folder}/{width}-{theme}.png",
        "--dump-dom",
    )
    found: dict[str, Any] = json.loads(shown.split("<title>")[1].split("</title>")[0])
    return found


def _chromium(page: Path, size: tuple[int, int], scheme: int, *what: str) -> str:
    done = subprocess.run(
        [
            BROWSER, "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--timeout=30000",
            f"--user-data-dir={page.parent}/profile", f"--window-size={size[0]},{size[1]}",
            f"--blink-settings=preferredColorScheme={scheme}", *what, page.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout
