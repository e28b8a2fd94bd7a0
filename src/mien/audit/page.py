"""The report as one HTML file: no scripts, no requests, light and dark, every name escaped."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mien.audit.embedding import SIDE
from mien.audit.finding import Entry, Finding, Table

if TYPE_CHECKING:
    from mien.audit.report import AuditReport

SHOWN = 48
"""Faces shown per finding, about; the lists hold all."""
_LARGEST_GROUP = 8
_COLUMNS = 16

_WEIGHTS = {"leak": "leak", "problem": "problem", "remark": "remark"}


def render(report: AuditReport) -> str:
    """The whole page. The faces on it are those that were audited: pass it on only if you may pass them on.

    Example:
        >>> from mien.audit import audit
        >>> from mien.datasets import load_dataset
        >>> page = render(audit(load_dataset("drawn", count=70)))
        >>> page.startswith("<!doctype html>"), "<script" in page, "https:" in page
        (True, False, False)
    """
    title = f"Audit of {report.subject}" + (f" against {report.against}" if report.against else "")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{_text(title)}</title><style>{_STYLE}{_sheets(report)}</style></head><body>",
        _header(report, title),
        "<main>",
        _overview(report),
        *(_table(table) for table in report.tables),
        *(_finding(index, finding) for index, finding in enumerate(report.findings) if finding.entries),
        "</main>",
        f"<footer>{_identity(report)}</footer></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _header(report: AuditReport, title: str) -> str:
    sizes = "".join(f"<li><b>{count:,}</b> {_text(name)}</li>" for name, count in report.splits.items())
    if len(report.splits) == 1:
        sizes = f"<li><b>{report.size:,}</b> pictures</li>"
    notes = "".join(f"<p class=note>{_text(note)}</p>" for note in report.notes)
    return f"<header><p class=brand>mien audit</p><h1>{_text(title)}</h1><ul class=sizes>{sizes}</ul>{notes}</header>"


def _overview(report: AuditReport) -> str:
    cards = []
    for index, finding in enumerate(report.findings):
        weight = finding.weight if finding.entries else "clear"
        word = _WEIGHTS[finding.weight] if finding.entries else "nothing found"
        inner = f"<span class=tag>{word}</span><b>{finding.faces:,}</b><span>{_text(finding.title)}</span>"
        cards.append(
            f'<a class="card {weight}" href="#finding-{index}">{inner}</a>'
            if finding.entries
            else f'<div class="card {weight}">{inner}</div>'
        )
    return f'<section aria-label="Overview"><div class=cards>{"".join(cards)}</div></section>'


def _finding(index: int, finding: Finding) -> str:
    counts = "".join(
        f"<li><b>{_number(value)}</b> {_text(name.replace('_', ' '))}</li>" for name, value in finding.counts.items()
    )
    shown = _shown(finding)
    position, figures = 0, []
    for entry in shown:
        tiles = []
        for face in entry.faces[:_LARGEST_GROUP]:
            x, y = position % _COLUMNS, position // _COLUMNS
            caption = f"<small>{_text(_short(face.caption))}</small>" if face.caption else ""
            name = f"<code>{_text(_short(face.id))}</code>" if face.own else ""
            tiles.append(
                f'<div class=face title="{_text(face.id)}"><i class=s{index} '
                f'style="background-position:{-2 * SIDE * x}px {-2 * SIDE * y}px"></i>{name}{caption}</div>'
            )
            position += 1
        more = len(entry.faces) - _LARGEST_GROUP
        words = [
            f"{entry.score:g}" if entry.score is not None else "",
            entry.note,
            f"and {more} more" if more > 0 else "",
        ]
        note = " · ".join(_text(word) for word in words if word)
        figures.append(
            f"<figure class=n{min(len(tiles), 2)}><div class=faces>{''.join(tiles)}</div>"
            f"{f'<figcaption>{note}</figcaption>' if note else ''}</figure>"
        )
    rest = len(finding.entries) - len(shown)
    whole = f"Shown: {len(shown):,} of {len(finding.entries):,}. " if rest else ""
    return (
        f'<section id="finding-{index}" class="finding {finding.weight}"><h2>{_text(finding.title)}</h2>'
        f"<p>{_text(finding.sentence)}</p>{f'<ul class=counts>{counts}</ul>' if counts else ''}"
        f"<div class=sheet>{''.join(figures)}</div>"
        f"<p class=whole>{whole}All ids: <code>ids/{_text(finding.name)}.txt</code></p></section>"
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_text(column)}</th>' for column in table.columns)
    body = []
    for row in table.rows:
        first, *cells = row
        body.append(
            f'<tr><th scope="row">{_text(str(first))}</th>'
            + "".join(f"<td>{_number(cell)}</td>" for cell in cells)
            + "</tr>"
        )
    note = f"<p class=whole>{_text(table.note)}</p>" if table.note else ""
    return (
        f"<section class=table><h2>{_text(table.title)}</h2><div class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>{note}</section>"
    )


def _identity(report: AuditReport) -> str:
    import mien

    data = f" · data <code>{report.fingerprint[:16]}</code>" if report.fingerprint else ""
    return (
        f"mien {mien.__version__}{data} · {report.seconds:.0f} s · The faces shown are those that were audited; "
        "pass this page on only where you may pass them on."
    )


def _shown(finding: Finding) -> list[Entry]:
    entries: list[Entry] = []
    faces = 0
    for entry in finding.entries:
        faces += min(len(entry.faces), _LARGEST_GROUP)
        if entries and faces > SHOWN:
            break
        entries.append(entry)
    return entries


def _sheets(report: AuditReport) -> str:
    """One picture per finding that holds all its faces; each face is a window into it."""
    rules = []
    for index, finding in enumerate(report.findings):
        faces = [face.image for entry in _shown(finding) for face in entry.faces[:_LARGEST_GROUP]]
        if not faces:
            continue
        sheet = _contact_sheet(faces)
        data = base64.b64encode(_png(sheet)).decode()
        rules.append(
            f".s{index}{{background-image:url(data:image/png;base64,{data});"
            f"background-size:{2 * sheet.shape[1]}px {2 * sheet.shape[0]}px}}"
        )
    return "".join(rules)


def _contact_sheet(faces: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    rows = -(-len(faces) // _COLUMNS)
    sheet = np.zeros((rows, SIDE, _COLUMNS, SIDE), np.uint8)
    for position, image in enumerate(faces):
        sheet[position // _COLUMNS, :, position % _COLUMNS] = image
    return sheet.reshape(rows * SIDE, _COLUMNS * SIDE)


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", optimize=True)
    return out.getvalue()


def _text(text: str) -> str:
    return escape(text.encode("utf-8", "backslashreplace").decode(), quote=True)


def _short(text: str, length: int = 28) -> str:
    return text if len(text) <= length else "…" + text[1 - length :]


def _number(value: str | int | float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return f"{100 * value:.1f} %" if 0 <= value <= 1 else f"{value:g}"
    return f"{value:,}"


_STYLE = """
:root{--paper:#f6f5f1;--card:#fff;--ink:#1d1c1a;--soft:#6b6862;--line:#e3e0d8;--leak:#b3261e;--problem:#9a5b00;
--remark:#3a5f8a;--clear:#3c7a4b;--shade:0 1px 2px #0000000d,0 4px 16px #0000000a}
@media (prefers-color-scheme:dark){:root{--paper:#161513;--card:#201f1c;--ink:#edeae3;--soft:#a09b91;--line:#35322d;
--leak:#ff8a80;--problem:#f0b35c;--remark:#8fb8e8;--clear:#86cf98;--shade:none}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",sans-serif;-webkit-font-smoothing:antialiased}
header,main,footer{max-width:1120px;margin:0 auto;padding:0 24px}
header{padding-top:56px}
.brand{margin:0;color:var(--soft);font-size:13px;letter-spacing:.12em;text-transform:uppercase}
h1{margin:4px 0 12px;font-size:clamp(28px,4vw,42px);line-height:1.15;letter-spacing:-.02em;overflow-wrap:anywhere}
h2{margin:0 0 6px;font-size:21px;letter-spacing:-.01em}
p{margin:0 0 12px;max-width:70ch}
.note,.whole,footer{color:var(--soft);font-size:14px}
.sizes,.counts{display:flex;flex-wrap:wrap;gap:4px 22px;margin:0 0 14px;padding:0;list-style:none;color:var(--soft)}
.sizes b,.counts b{color:var(--ink);font-variant-numeric:tabular-nums}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(196px,1fr));gap:14px;margin:28px 0 40px}
.card{display:flex;flex-direction:column;padding:16px 18px;border-radius:14px;background:var(--card);color:inherit;
text-decoration:none;box-shadow:var(--shade);border:1px solid var(--line)}
a.card:hover,a.card:focus-visible{border-color:currentColor}
.card b{font-size:30px;line-height:1.2;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.card span:last-child{color:var(--soft);font-size:14px;line-height:1.35}
.tag{font-size:12px;font-weight:600;letter-spacing:.04em}
.leak .tag{color:var(--leak)}.problem .tag{color:var(--problem)}.remark .tag{color:var(--remark)}
.clear .tag{color:var(--clear)}.clear b{color:var(--soft);font-weight:400}
section.finding,section.table{margin:0 0 28px;padding:24px 26px;border-radius:16px;background:var(--card);
border:1px solid var(--line);box-shadow:var(--shade);scroll-margin-top:16px}
.finding.leak h2{color:var(--leak)}.finding.problem h2{color:var(--problem)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:15px}
th,td{padding:8px 14px 8px 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child{text-align:left}thead th{color:var(--soft);font-size:13px;font-weight:500}tbody th{font-weight:500}
tbody tr:last-child>*{border-bottom:0}.table .whole{margin:12px 0 0}
.sheet{display:flex;flex-wrap:wrap;gap:14px;margin:16px 0}
figure{margin:0;padding:8px;border-radius:12px;background:var(--paper);max-width:100%}
.faces{display:flex;flex-wrap:wrap;gap:6px}
.face{width:96px;display:flex;flex-direction:column;font-size:12px;line-height:1.35;overflow-wrap:anywhere}
.face i{display:block;width:96px;height:96px;border-radius:8px;margin-bottom:4px;background-color:var(--line)}
.face code{color:var(--ink)}small{font-size:11px;color:var(--soft)}
figcaption{margin-top:4px;font-size:12px;color:var(--soft)}
code{font:12px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
footer{padding-top:8px;padding-bottom:48px}
@media print{body{background:#fff}section{break-inside:avoid}}
"""
