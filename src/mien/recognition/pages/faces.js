// Faces as every page shows them: colours, boxes on a canvas, bars of probabilities.
"use strict";

const styles = getComputedStyle(document.documentElement);
const colourOf = (label) => styles.getPropertyValue(`--${label}`).trim() || styles.getPropertyValue("--accent").trim();
const percent = (value) => `${Math.round(100 * value)} %`;

function drawFaces(pen, faces, scale, { mirrored = false, width = 0 } = {}) {
  const size = Math.max(13, Math.round(pen.canvas.width * 0.017));
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  for (const face of faces) {
    if (!face.box) continue;
    let [x1, y1, x2, y2] = face.box.map((value) => value * scale);
    if (mirrored) [x1, x2] = [width - x2, width - x1];
    const colour = colourOf(face.label);
    pen.setLineDash(face.decided ? [] : [size * 0.5, size * 0.4]);
    pen.lineJoin = "round";
    for (const [ink, thick] of [["rgba(15,17,20,.55)", size * 0.3], [colour, size * 0.18]]) {
      pen.strokeStyle = ink;
      pen.lineWidth = thick;
      pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
    const text = `${face.label}${face.decided ? "" : "?"} ${percent(face.confidence)}`;
    const wide = pen.measureText(text).width + size * 0.9;
    const high = size * 1.5;
    const x = Math.min(Math.max(x1 - size * 0.1, 0), pen.canvas.width - wide);
    const y = y1 - high - size * 0.2 >= 0 ? y1 - high - size * 0.2 : y2 + size * 0.2;
    pen.fillStyle = face.decided ? colour : "rgba(24,26,30,.88)";
    pen.beginPath();
    pen.roundRect(x, y, wide, high, size * 0.3);
    pen.fill();
    const dark = ["happy", "surprise", "neutral", "contempt"].includes(face.label);
    pen.fillStyle = face.decided && dark ? "#16181c" : "#fff";
    pen.fillText(text, x + size * 0.45, y + high / 2 + size * 0.05);
  }
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
