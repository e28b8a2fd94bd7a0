"""Expressions over time: what each face of a video showed, as sums in constant memory, a picture and a page."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.recognition.drawing import colour_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.labels import LabelSet
    from mien.recognition.video import VideoFrame

_FIRST, _BINS = 15, 480
"""Bins of a face at first and at most, doubled in between. When they are full, neighbours are added and each bin lasts
twice as long."""
_SHOWN = 12
"""Faces of a picture or page; the others are counted."""


@dataclass
class TrackSummary:
    """One face of a video.

    Attributes:
        track_id: its number.
        start: seconds of its first frame.
        end: of its last one.
        frames: frames on which it was seen.
        undecided: of them, those whose confidence was under the threshold.
        seen: seconds that these frames stand for: each for half of the time to the frame before it and to the next.
        width: seconds of one bin.
        sums: float64 (bins, C): probabilities added up per bin from the first frame on; grows with the face's time.
        counts: int64 (bins,).
    """

    track_id: int
    start: float
    end: float
    classes: int
    frames: int = 0
    undecided: int = 0
    seen: float = 0.0
    width: float = 0.1
    sums: NDArray[np.float64] = field(init=False)
    counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros((_FIRST, self.classes))
        self.counts = np.zeros(_FIRST, np.int64)

    def add(self, time: float, probabilities: NDArray[np.float32], decided: bool) -> None:
        """Count one frame."""
        while (place := int((time - self.start) / self.width)) >= len(self.counts):
            if len(self.counts) < _BINS:
                self.sums = np.concatenate([self.sums, np.zeros_like(self.sums)])
                self.counts = np.concatenate([self.counts, np.zeros_like(self.counts)])
                continue
            self.sums = np.concatenate([self.sums.reshape(_BINS // 2, 2, -1).sum(1), np.zeros_like(self.sums[::2])])
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros_like(self.counts[::2])])
            self.width *= 2
        self.sums[place] += probabilities
        self.counts[place] += 1
        self.frames += 1
        self.undecided += not decided
        self.end = time

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 (C,), the mean probabilities, which sum to 1."""
        return np.asarray(self.sums.sum(axis=0) / max(self.frames, 1))

    def to_dict(self, label_set: LabelSet) -> dict[str, Any]:
        """Plain values for JSON."""
        mean = self.mean
        return {
            "track_id": self.track_id,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "seen": round(self.seen, 3),
            "frames": self.frames,
            "undecided": self.undecided,
            "label": label_set[int(mean.argmax())],
            "probabilities": {name: round(float(p), 6) for name, p in zip(label_set.labels, mean, strict=True)},
        }


class Timeline:
    """The faces of a video so far.

    Args:
        label_set: what the probabilities mean.
    """

    def __init__(self, label_set: LabelSet) -> None:
        self.label_set = label_set
        self.tracks: dict[int, TrackSummary] = {}
        self.seconds = 0.0
        self._before: tuple[float, list[int]] | None = None  # time and faces of the last frame

    def add(self, frame: VideoFrame) -> None:
        """Count the faces of one frame."""
        self.seconds = max(self.seconds, frame.time)
        faces = frame.faces
        numbers = [] if faces.track_ids is None else faces.track_ids.tolist()
        for row, number in enumerate(numbers):
            track = self.tracks.get(number)
            if track is None:
                track = self.tracks[number] = TrackSummary(number, frame.time, frame.time, len(self.label_set))
            track.add(frame.time, faces.probabilities[row], bool(faces.decided[row]))
        if self._before is not None:
            before, there = self._before
            for number in (*there, *numbers):
                self.tracks[number].seen += 0.5 * max(frame.time - before, 0.0)
        self._before = (frame.time, numbers)

    @property
    def longest(self) -> list[TrackSummary]:
        """The faces that are shown: the most frequent ones, in the order of their numbers."""
        chosen = sorted(self.tracks.values(), key=lambda track: (-track.frames, track.track_id))[:_SHOWN]
        return sorted(chosen, key=lambda track: track.track_id)

    def picture(self) -> Image.Image:
        """A picture of the timeline, RGB: one band per face, the areas of its expressions one above the other."""
        return _Picture(self).draw()

    def page(self, title: str) -> str:
        """The same as an HTML page of its own, with a table; nothing is loaded from anywhere."""
        return _page(self, title)


def bands(track: TrackSummary, seconds: float) -> list[list[tuple[float, NDArray[np.float64]]]]:
    """Stretches in which the face was seen: (share of the whole time, cumulated probabilities (C + 1,)) per bin."""
    out: list[list[tuple[float, NDArray[np.float64]]]] = []
    before = -10
    for place in np.flatnonzero(track.counts).tolist():
        edges = np.concatenate([[0.0], np.cumsum(track.sums[place] / track.counts[place])])
        if place - before > max(1, round(0.5 / track.width)):
            out.append([])
            out[-1].append(((track.start + place * track.width) / seconds, edges))
        out[-1].append(((track.start + (place + 0.5) * track.width) / seconds, edges))
        before = place
    for stretch in out:
        share, edges = stretch[-1]
        stretch.append((share + 0.5 * track.width / seconds, edges))
    return [[(min(max(share, 0.0), 1.0), edges) for share, edges in stretch] for stretch in out]


def moment(seconds: float) -> str:
    """Time for people, with tenths: of what was measured.

    Example:
        >>> moment(75.34), moment(59.97)
        ('1:15.3', '1:00.0')
    """
    whole, part = divmod(round(10 * seconds), 10)
    return f"{clock(whole)}.{part}"


def clock(seconds: float) -> str:
    """Time for people, in whole seconds: of a mark.

    Example:
        >>> clock(75), clock(3725)
        ('1:15', '1:02:05')
    """
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def ticks(seconds: float) -> list[float]:
    """Times of the marks under a timeline.

    Example:
        >>> ticks(12.0)
        [0, 2, 4, 6, 8, 10, 12]
    """
    for step in (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600):
        if seconds / step <= 9:
            break
    count = int(seconds / step + 1e-9)
    return [index * step for index in range(count + 1)]


class _Picture:
    """Drawn twice as large and reduced, because Pillow's own lines are not smoothed."""

    fine, width, band, gap, left, right, top = 2, 1280, 64, 26, 118, 28, 62

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.seconds = max(timeline.seconds, 1e-3)
        self.tracks = timeline.longest
        rows = max(len(self.tracks), 1)
        self.height = self.top + rows * (self.band + self.gap) + 46

    def draw(self) -> Image.Image:
        fine = self.fine
        canvas = Image.new("RGB", (self.width * fine, self.height * fine), (255, 255, 255))
        self.pen = ImageDraw.Draw(canvas)
        self._legend()
        room = self.width - self.left - self.right
        bottom = self.height - 46
        for tick in ticks(self.seconds):
            x = self.left + room * tick / self.seconds
            self.pen.line([(x * fine, (self.top - 6) * fine), (x * fine, bottom * fine)], (232, 234, 238), fine)
            text = clock(tick) if self.seconds >= 10 else f"{tick:g} s"
            self._text(x, bottom + 18, text, 13, (96, 102, 112), "ms")
        if not self.tracks:
            self._text(self.width / 2, self.top + self.band / 2, "no face in this video", 16, (96, 102, 112), "mm")
        for row, track in enumerate(self.tracks):
            y = self.top + row * (self.band + self.gap)
            self._text(self.left - 14, y + 26, f"face {track.track_id}", 15, (28, 31, 36), "rs")
            self._text(self.left - 14, y + 46, f"{track.seen:.1f} s", 13, (96, 102, 112), "rs")
            self.pen.rectangle(
                [self.left * fine, y * fine, (self.left + room) * fine, (y + self.band) * fine], (246, 247, 249)
            )
            for stretch in bands(track, self.seconds):
                for index, label in enumerate(self.timeline.label_set.labels):
                    upper = [(self.left + room * s, y + self.band * (1 - e[index + 1])) for s, e in stretch]
                    lower = [(self.left + room * s, y + self.band * (1 - e[index])) for s, e in reversed(stretch)]
                    points = [(a * fine, b * fine) for a, b in upper + lower]
                    self.pen.polygon(points, colour_of(label, self.timeline.label_set))
        hidden = len(self.timeline.tracks) - len(self.tracks)
        if hidden:
            self._text(self.width - self.right, self.height - 8, f"and {hidden} more faces", 13, (96, 102, 112), "rs")
        return canvas.resize((self.width, self.height), Image.Resampling.BOX)

    def _legend(self) -> None:
        x = float(self.left)
        for label in self.timeline.label_set.labels:
            fine = self.fine
            colour = colour_of(label, self.timeline.label_set)
            self.pen.rounded_rectangle([x * fine, 20 * fine, (x + 13) * fine, 33 * fine], 3 * fine, colour)
            x += 19 + self._text(x + 19, 31.5, label, 14, (28, 31, 36), "ls") + 22

    def _text(self, x: float, y: float, text: str, size: int, ink: tuple[int, int, int], anchor: str) -> float:
        font = ImageFont.load_default(size * self.fine)
        self.pen.text((x * self.fine, y * self.fine), text, ink, font, anchor=anchor)
        return float(font.getlength(text)) / self.fine


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --dim: #606670; --line: #e3e6ea; --paper: #fff; --band: #f3f4f7 }
@media (prefers-color-scheme: dark) { :root { --ink: #eceef2; --dim: #9aa1ad; --line: #30343b; --paper: #14161a;
  --band: #1e2127 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 0 .25rem } p { color: var(--dim); margin: .25rem 0 1.25rem }
.key { display: flex; flex-wrap: wrap; gap: .35rem 1.1rem; margin: 1rem 0 }
.key span::before { content: ""; display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem;
  background: var(--c); margin-right: .4rem; vertical-align: -.05rem }
figure { margin: 0 0 1.1rem } figcaption { display: flex; justify-content: space-between; gap: 1rem }
figcaption span { color: var(--dim) } svg { display: block; width: 100%; height: 4.2rem; background: var(--band);
  border-radius: .3rem } .axis { position: relative; height: 1.5rem; color: var(--dim); font-size: .85rem }
.axis span { position: absolute; transform: translateX(-50%) } .axis span:first-child { transform: none }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child, td:nth-child(2), th:nth-child(2) { text-align: left } th { font-weight: 600 }
.wide { margin-top: .5rem }
.wide { background: linear-gradient(to left, var(--paper) 30%, transparent) right / 3rem 100% local no-repeat,
  linear-gradient(to left, color-mix(in srgb, var(--ink) 18%, transparent), transparent) right / 1.1rem 100% no-repeat }
.wide:focus-visible { outline: 2px solid var(--dim) } .hint { display: none; font-size: .85rem; margin: 1rem 0 .25rem }
@media (max-width: 52rem) { .hint { display: block } }
@media (max-width: 34rem) { .axis span:nth-child(even) { display: none } figcaption { font-size: .93rem } }
"""


def _page(timeline: Timeline, title: str) -> str:
    seconds = max(timeline.seconds, 1e-3)
    labels = timeline.label_set.labels

    def hexadecimal(label: str) -> str:
        return "#" + "".join(f"{value:02x}" for value in colour_of(label, timeline.label_set))

    key = "".join(f'<span style="--c:{hexadecimal(name)}">{html.escape(name)}</span>' for name in labels)
    marks = [tick for tick in ticks(seconds) if tick / seconds < 0.98]
    axis = "".join(
        f'<span style="left:{100 * t / seconds:.2f}%">{clock(t) if seconds >= 10 else f"{t:g} s"}</span>' for t in marks
    )
    figures, rows = [], []
    for track in timeline.longest:
        areas = []
        for stretch in bands(track, seconds):
            for index, label in enumerate(labels):
                upper = [f"{1000 * s:.1f},{100 * (1 - e[index + 1]):.1f}" for s, e in stretch]
                lower = [f"{1000 * s:.1f},{100 * (1 - e[index]):.1f}" for s, e in reversed(stretch)]
                areas.append(f'<polygon fill="{hexadecimal(label)}" points="{" ".join(upper + lower)}"/>')
        entry = track.to_dict(timeline.label_set)
        when = f"{moment(track.start)} to {moment(track.end)}"
        said = f"face {track.track_id}: most of the time {entry['label']}, from {when}"
        figures.append(
            f"<figure><figcaption><b>face {track.track_id}</b><span>{moment(track.start)} – {moment(track.end)}</span>"
            f'</figcaption><svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" '
            f'aria-label="{html.escape(said)}">{"".join(areas)}</svg></figure>'
        )
    for track in sorted(timeline.tracks.values(), key=lambda t: t.track_id)[:200]:
        entry = track.to_dict(timeline.label_set)
        shares = "".join(f"<td>{100 * value:.0f} %</td>" for value in entry["probabilities"].values())
        rows.append(
            f"<tr><td>{track.track_id}</td><td>{html.escape(entry['label'])}</td>"
            f"<td>{track.seen:.1f} s</td>"
            f"{shares}<td>{100 * track.undecided / max(track.frames, 1):.0f} %</td></tr>"
        )
    head = "".join(f"<th>{html.escape(name)}</th>" for name in labels)
    table = (
        '<p class="hint">The table goes on to the right: scroll it.</p>'
        '<div class="wide" tabindex="0" role="region" aria-label="The faces in figures"><table><thead>'
        "<tr><th>face</th><th>mostly</th><th>seen</th>"
        f"{head}<th>undecided</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    count = len(timeline.tracks)
    what = "No face was found" if not count else f"{count} face{'s' if count > 1 else ''} in {moment(seconds)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<p>{what}. The height of a colour is the probability of that expression. Expressions are what a face shows, "
        f"not what a person feels.</p>"
        + (f'<div class="key">{key}</div>{"".join(figures)}<div class="axis">{axis}</div>{table}' if count else "")
        + "</html>\n"
    )
