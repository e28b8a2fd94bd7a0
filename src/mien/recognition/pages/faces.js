// Faces as every page shows them: colours, boxes on a canvas, bars of probabilities.
"use strict";

const styles = getComputedStyle(document.documentElement);
const colourOf = (label) => styles.getPropertyValue(`--${label}`).trim() || styles.getPropertyValue("--accent").trim();
const percent = (value) => `${Math.round(100 * value)} %`;

const LETTERS = 12; // pixels of the screen that letters on a picture are high at least, however small it is shown

// Boxes of all faces, and a label of each face that has room for one: no label lies on another one. The largest faces
// are labelled first; the list beside the picture holds them all.
function drawFaces(pen, faces, scale, { mirrored = false, width = 0 } = {}) {
  const { canvas } = pen;
  const line = Math.max(13, Math.round(canvas.width * 0.017));
  const shown = canvas.clientWidth || canvas.width;
  const size = Math.max(line, Math.ceil((LETTERS * canvas.width) / shown));
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  const boxed = faces.filter((face) => face.box).map((face) => {
    let [x1, y1, x2, y2] = face.box.map((value) => value * scale);
    if (mirrored) [x1, x2] = [width - x2, width - x1];
    return { face, x1, y1, x2, y2, area: (x2 - x1) * (y2 - y1) };
  });
  for (const { face, x1, y1, x2, y2 } of boxed) {
    const colour = colourOf(face.label);
    pen.setLineDash(face.decided ? [] : [line * 0.5, line * 0.4]);
    for (const [ink, thick] of [["rgba(15,17,20,.55)", line * 0.3], [colour, line * 0.18]]) {
      pen.strokeStyle = ink;
      pen.lineWidth = thick;
      pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
  }
  const labels = [];
  for (const item of [...boxed].sort((one, other) => other.area - one.area)) {
    const label = placeLabel(pen, item, size, labels, boxed);
    if (label) labels.push(label);
  }
  for (const { face, text, x, y, wide, high } of labels) {
    pen.font = `600 ${size}px system-ui, sans-serif`;
    pen.fillStyle = face.decided ? colourOf(face.label) : "rgba(24,26,30,.88)";
    pen.beginPath();
    pen.roundRect(x, y, wide, high, size * 0.3);
    pen.fill();
    const dark = ["happy", "surprise", "neutral", "contempt"].includes(face.label);
    pen.fillStyle = face.decided && dark ? "#16181c" : "#fff";
    pen.fillText(text, x + size * 0.45, y + high / 2 + size * 0.05);
  }
  canvas.dataset.labels = labels.length;
}

const meet = (one, other) => one.x < other.x + other.wide && other.x < one.x + one.wide
  && one.y < other.y + other.high && other.y < one.y + one.high;

// Where a label has room: above its face or below it, flush with its left or right edge; first where it hides no other
// face, in full and then without its figure. None, if it would lie on another label or hide half of a face.
function placeLabel(pen, { face, x1, y1, x2, y2 }, size, labels, boxed) {
  const { canvas } = pen;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  const high = size * 1.5;
  const gap = size * 0.2;
  const name = `${face.label}${face.decided ? "" : "?"}`;
  const hidden = (label) => Math.max(0, ...boxed.filter((other) => other.face !== face).map((other) => {
    const across = Math.min(label.x + label.wide, other.x2) - Math.max(label.x, other.x1);
    const down = Math.min(label.y + label.high, other.y2) - Math.max(label.y, other.y1);
    return across > 0 && down > 0 ? (across * down) / other.area : 0;
  }));
  for (const most of [0, 0.3]) {
    for (const text of [`${name} ${percent(face.confidence)}`, name]) {
      const wide = pen.measureText(text).width + size * 0.9;
      const far = canvas.width - wide;
      for (const y of [y1 - high - gap, y2 + gap]) {
        for (const left of [x1 - size * 0.1, x2 - wide + size * 0.1, (x1 + x2 - wide) / 2]) {
          const label = { face, text, x: Math.min(Math.max(left, 0), far), y, wide, high };
          if (far < 0 || y < 0 || y + high > canvas.height) continue;
          if (!labels.some((other) => meet(label, other)) && hidden(label) <= most) return label;
        }
      }
    }
  }
  return null;
}

function bars(face) {
  const list = document.createElement("dl");
  for (const [label, value] of Object.entries(face.probabilities)) {
    const name = document.createElement("dt");
    name.textContent = label;
    const cell = document.createElement("dd");
    const meter = document.createElement("span");
    meter.className = "meter";
    meter.setAttribute("role", "meter");
    meter.setAttribute("aria-valuemin", "0");
    meter.setAttribute("aria-valuemax", "1");
    meter.setAttribute("aria-valuenow", value.toFixed(3));
    meter.setAttribute("aria-label", label);
    const fill = document.createElement("i");
    fill.style.width = `${100 * value}%`;
    fill.style.setProperty("--c", colourOf(label));
    meter.append(fill);
    cell.append(meter);
    const number = document.createElement("dd");
    number.className = "value";
    number.textContent = percent(value);
    list.append(name, cell, number);
  }
  return list;
}

function card(face, picture, scale = 1) {
  const item = document.createElement("li");
  item.className = "face";
  const crop = document.createElement("canvas");
  crop.width = crop.height = 144;
  if (face.box && picture) {
    const [x1, y1, x2, y2] = face.box.map((value) => value * scale);
    const side = 1.25 * Math.max(x2 - x1, y2 - y1);
    crop.getContext("2d").drawImage(picture, (x1 + x2 - side) / 2, (y1 + y2 - side) / 2, side, side, 0, 0, 144, 144);
  }
  crop.setAttribute("role", "img");
  crop.setAttribute("aria-label", "the face");
  const name = document.createElement("b");
  name.textContent = face.decided ? face.label : `${face.label}?`;
  const second = document.createElement("span");
  second.className = "second";
  second.textContent = face.decided ? percent(face.confidence) : `${percent(face.confidence)}, undecided`;
  item.append(crop, name, second, bars(face));
  return item;
}
