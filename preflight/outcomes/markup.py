"""Pages as text: one HTML file each, which needs no network. Whatever comes from rows, names or answers is shown and never run."""

import base64
import gzip
import html
import json
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from preflight.findings import to_plain

STYLE = """
:root{color-scheme:light dark}body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;padding:12px;max-width:1100px}
h1{font-size:1.3rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin-top:1.6em}.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem}td,th{padding:3px 10px 3px 0;text-align:left;vertical-align:top}th{font-weight:600}
pre{overflow-x:auto;background:#8881;padding:8px;font-size:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}
details{border-top:1px solid #8884;padding:6px 0}summary{cursor:pointer;overflow-wrap:anywhere}.figure{width:100%;height:330px;background:#fff}
"""
# the library is packed: a browser unpacks it in less time than it takes to read the rest from a disk
SCRIPT = """
(async () => {
  const packed = Uint8Array.from(atob(document.getElementById('library').textContent), c => c.charCodeAt(0));
  const script = document.createElement('script');
  script.textContent = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
  document.head.append(script);
  for (const figure of document.querySelectorAll('.figure')) {
    const {data, layout} = JSON.parse(figure.querySelector('script').textContent);
    await Plotly.newPlot(figure, data, layout, {responsive: true, displaylogo: false, displayModeBar: false});
  }
  document.body.dataset.drawn = 'yes';
})();
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"


def text(value: Any) -> str:
    """Anything as text of a page: no markup, no character that is not seen or that turns others round."""
    shown = "".join(letter if _seen(letter) else letter.encode("unicode_escape").decode() for letter in str(value))
    return html.escape(shown)


def _seen(letter: str) -> bool:
    return letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs")


def label(value: Any) -> str:
    """Text in a figure: the library reads some markup in it."""
    return text(value).replace("&quot;", '"').replace("&#x27;", "'")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are markup already."""
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    top = f"<tr>{''.join(f'<th>{text(name)}</th>' for name in head)}</tr>" if head else ""
    return f'<div class="wide"><table>{top}{lines}</table></div>'


def figure(title: str, data: Sequence[Mapping[str, Any]], **layout: Any) -> str:
    """A figure of Plotly with its heading; the description is JSON that holds no `<`."""
    shape = {"margin": {"l": 55, "r": 12, "t": 12, "b": 45}, "legend": {"orientation": "h", "y": 1.12}, "font": {"size": 12}} | layout
    described = json.dumps({"data": to_plain(list(data)), "layout": to_plain(shape)}).replace("<", "\\u003c")
    return f'<h2>{text(title)}</h2><div class="figure"><script type="application/json">{described}</script></div>'


def page(title: str, *parts: str) -> str:
    """The whole file."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{text(title)}</title><style>{STYLE}</style></head>'
        f'<body><h1>{text(title)}</h1>{"".join(parts)}<script id="library" type="text/plain">{_library()}</script><script>{SCRIPT}</script></body></html>\n'
    )


@cache
def _library() -> str:
    """Plotly's own JavaScript. Raises ImportError."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
