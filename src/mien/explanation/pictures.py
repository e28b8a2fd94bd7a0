"""Maps for people: heat over a face, the average of many faces, and one page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.explanation.faithfulness import Faithfulness

# Dark to light as in "inferno" (Smith and van der Walt 2015): perceptually even, readable without colour too.
_HEAT = np.array(
    [(0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85), (227, 89, 51), (249, 140, 10),
     (249, 201, 50), (252, 255, 164)], np.float32,
)  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One face of a page.

    Attributes:
        title: above it.
        text: below it.
        face: uint8 (H, W) or (H, W, 3).
        importance: float (h, w).
        curves: how faithful the map is, if that was measured.
        verdict: what that means; by default what the test of the one map says.
    """

    title: str
    text: str
    face: NDArray[np.uint8]
    importance: NDArray[np.float32]
    curves: Faithfulness | None = None
    verdict: str = ""


def overlay(face: NDArray[np.uint8], importance: NDArray[np.float32], *, side: int = 288) -> Image.Image:
    """A face under its map: what matters glows, what does not stays grey and dim.

    Args:
        face: uint8 (H, W) or (H, W, 3).
        importance: float (h, w); what lies below 0 counts as 0.
        side: of the picture in pixels.

    Returns:
        RGB.

    Example:
        >>> overlay(np.zeros((48, 48), np.uint8), np.eye(48, dtype=np.float32), side=96).size
        (96, 96)
    """
    grey = Image.fromarray(face).convert("L").resize((side, side), Image.Resampling.BICUBIC)
    heat = Image.fromarray(np.maximum(np.asarray(importance, np.float32), 0)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    share = np.asarray(heat, np.float32)
    share = np.clip(share / max(float(np.percentile(share, 99.5)), 1e-9), 0, 1)
    place = share * (len(_HEAT) - 1)
    low = np.minimum(place.astype(np.intp), len(_HEAT) - 2)
    colour = _HEAT[low] + (place - low)[..., None] * (_HEAT[low + 1] - _HEAT[low])
    base = np.asarray(grey, np.float32)[..., None]
    mixed = base * (0.42 + 0.25 * share[..., None]) + colour * (0.15 + 0.6 * share[..., None])
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def page(title: str, note: str, panels: Sequence[Panel]) -> str:
    """All panels on an HTML page of its own; nothing is loaded from anywhere."""
    cells = []
    for panel in panels:
        shown = overlay(panel.face, panel.importance)
        plain = Image.fromarray(panel.face).convert("RGB").resize(shown.size, Image.Resampling.BICUBIC)
        curve = "" if panel.curves is None else _curves(panel.curves, panel.verdict or _verdict(panel.curves))
        cells.append(
            f"<article><h2>{html.escape(panel.title)}</h2><div class=pair>"
            f'<img alt="the face" src="{_data(plain)}"><img alt="the map over the face" src="{_data(shown)}"></div>'
            f"<p>{html.escape(panel.text)}</p>{curve}</article>"
        )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<p class=note>{html.escape(note)}</p><main>{''.join(cells)}</main></html>\n"
    )


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --dim: #606670; --line: #e3e6ea; --paper: #fafbfc; --card: #fff;
  --map: #c2410c; --chance: #8a919d }
@media (prefers-color-scheme: dark) { :root { --ink: #eceef2; --dim: #9aa1ad; --line: #30343b; --paper: #121418;
  --card: #1a1d22; --map: #fb923c } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem } h1 { font-size: 1.4rem; margin: 0 }
.note { color: var(--dim); max-width: 46rem; margin-bottom: 1.2rem }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 1rem }
article { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: .9rem 1rem }
h2 { font-size: 1rem; margin: 0 0 .6rem }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem }
img { width: 100%; border-radius: .4rem; display: block }
p { margin: .6rem 0 0; color: var(--dim) }
.key { font-size: .8rem; margin-top: .1rem }
.curves { display: grid; grid-template-columns: 1fr 1fr; gap: .9rem; margin-top: .7rem }
figure { margin: 0; min-width: 0 }
figcaption { font-size: .8rem; line-height: 1.35; color: var(--dim) }
svg { display: block; width: 100%; height: 6.5rem; overflow: visible; margin: .15rem 0 .3rem }
.band { fill: var(--chance); opacity: .2 }
.map { stroke: var(--map) } .chance { stroke: var(--chance); stroke-dasharray: 5 4 } .axis { stroke: var(--line) }
polyline, .axis { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke } .axis { stroke-width: 1 }
h2 { overflow-wrap: anywhere }
"""


def _curves(curves: Faithfulness, verdict: str) -> str:
    """Two drawings that stretch with the page; their captions are text of the page, so they stay as large as it."""

    def place(share: float, value: float) -> str:
        return f"{120 * share:.1f},{60 * (1 - min(max(value, 0), 1)):.1f}"

    def line(values: NDArray[np.float64], kind: str) -> str:
        points = " ".join(place(s, v) for s, v in zip(curves.shares, values, strict=True))
        return f'<polyline class="{kind}" points="{points}"/>'

    parts = []
    for name, own, chance in (
        ("taken away", curves.deletion, curves.deletion_random),
        ("shown", curves.insertion, curves.insertion_random),
    ):
        low, high = np.percentile(chance, (5, 95), axis=0)
        edge = [place(s, v) for s, v in zip(curves.shares, low, strict=True)]
        edge += [place(s, v) for s, v in zip(curves.shares[::-1], high[::-1], strict=True)]
        parts.append(
            f'<figure><figcaption>probability</figcaption><svg viewBox="0 0 120 60" preserveAspectRatio="none" '
            f'role="img" aria-label="probability over the share {name}: {html.escape(verdict)}">'
            f'<path class="axis" d="M0 0V60H120"/><polygon class="band" points="{" ".join(edge)}"/>'
            f"{line(chance.mean(axis=0), 'chance')}{line(own, 'map')}</svg>"
            f"<figcaption>{name}: share of the face</figcaption></figure>"
        )
    return (
        f"<div class=curves>{''.join(parts)}</div><p>{html.escape(verdict)}</p><p class=key>Dashed: the mean of "
        f"{len(curves.deletion_random)} random maps, shaded: 90 % of them.</p>"
    )


def _verdict(curves: Faithfulness) -> str:
    ways = f"taken away p = {curves.deletion_p:.2f}, shown p = {curves.insertion_p:.2f}"
    if curves.means_something:
        return f"The map means something: it beats chance both ways ({ways})."
    return f"The map is no better than chance one way or both ({ways}): do not read much into it."


def _data(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
