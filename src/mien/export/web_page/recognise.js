// From pixels to faces and their expressions, step by step as mien.faces and mien.recognition do it; `settings` holds
// the detector's bounds and the bundle's card.
"use strict";

const STRIDE = 4;
const MULTIPLE = 32;
const SPARE = 3; // pixels per pixel of the crop that remain of a large face before the last resize

// run(tensor, [1, 3, height, width]) → {heat, size, offset, points}, each with `data` and `dims`
async function detect(image, settings, run, once = false) {
  const longest = Math.max(image.width, image.height);
  for (let side = settings.long_side; ; side *= 2) {
    const found = await look(image, side, settings, run);
    if (once || side * 2 > settings.longest_side || side >= longest) return found;
    if (found.length) {
      const smallest = Math.min(...found.map(({ box }) => Math.max(box[2] - box[0], box[3] - box[1])));
      if ((smallest * side) / longest >= settings.small) return found;
    } else if (side > settings.long_side) return found;
  }
}

async function look(image, longSide, settings, run) {
  const scale = longSide / Math.max(image.width, image.height);
  const [width, height] = [image.width, image.height].map((side) => Math.max(MULTIPLE, roundUp(side * scale)));
  const { heat, size, offset, points } = await run(shrink(image, width, height), [1, 3, height, width]);
  const [rows, columns] = heat.dims.slice(2);
  const cells = rows * columns;
  const [x, y] = [Math.fround(image.width / width), Math.fround(image.height / height)];
  const candidates = [];
  for (let cell = 0; cell < cells; cell++) {
    const score = heat.data[cell];
    if (!(score >= Math.fround(settings.threshold))) continue;
    const of = (values, channel) => values.data[channel * cells + cell];
    const extent = [0, 1].map((axis) => Math.fround(Math.exp(Math.min(of(size, axis), 10))) * STRIDE); // height, width
    const centre = [Math.floor(cell / columns), cell % columns].map((place, axis) => (place + of(offset, axis) + 0.5) * STRIDE);
    const corner = centre.map((value, axis) => value - extent[axis] / 2);
    candidates.push({
      score,
      box: [corner[1] * x, corner[0] * y, (corner[1] + extent[1]) * x, (corner[0] + extent[0]) * y],
      landmarks: [0, 1, 2, 3, 4].map((point) => [
        (of(points, 2 * point + 1) * extent[1] + corner[1]) * x,
        (of(points, 2 * point) * extent[0] + corner[0]) * y,
      ]),
    });
  }
  return assemble(candidates, image, settings);
}

// One face per face, inside the image, best first.
function assemble(candidates, image, settings) {
  const finite = candidates.filter(({ box, landmarks }) => [...box, ...landmarks.flat()].every(Number.isFinite));
  const left = finite.sort((one, other) => other.score - one.score);
  const kept = [];
  for (const face of left) {
    if (kept.every((better) => shared(better.box, face.box) <= settings.overlap)) kept.push(face);
  }
  const [width, height] = [image.width, image.height];
  const clipped = kept.map(({ score, box, landmarks }) => ({
    score,
    box: box.map((value, at) => Math.fround(Math.min(Math.max(value, 0), at % 2 ? height : width))),
    landmarks: landmarks.map((point) => point.map(Math.fround)),
  }));
  const least = ({ box }) => Math.min(box[2] - box[0], box[3] - box[1]);
  return clipped.filter((face) => least(face) >= settings.smallest);
}

function shared(one, other) {
  const [a, b] = [one.map(Math.fround), other.map(Math.fround)];
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const sides = [0, 1].map((axis) => Math.max(0, Math.min(a[axis + 2], b[axis + 2]) - Math.max(a[axis], b[axis])));
  const both = sides[0] * sides[1];
  return both / Math.max(area(a) + area(b) - both, 1e-9);
}

function shrink(image, width, height) {
  const step = Math.max(1, Math.min(Math.trunc(image.height / (4 * height)), Math.trunc(image.width / (4 * width))));
  const thin = step > 1 ? cut(image, 0, 0, image.width, image.height, step) : image;
  return planes(resizeFast(thin, width, height, "bilinear", 2));
}

function planes({ width, height, bands, data }) {
  const cells = width * height;
  const out = new Float32Array(cells * bands);
  for (let band = 0; band < bands; band++) {
    for (let cell = 0; cell < cells; cell++) out[band * cells + cell] = data[cell * bands + band];
  }
  return out;
}

function roundUp(length) {
  return Math.ceil(halfEven(length) / MULTIPLE) * MULTIPLE;
}

function halfEven(value) {
  const low = Math.floor(value);
  const over = value - low;
  return over > 0.5 || (over === 0.5 && low % 2) ? low + 1 : low;
}

// The square around a box, as the network's training faces were framed.
function crop(image, { box, landmarks }, size, colour, framing) {
  const [x1, y1, x2, y2] = [Math.max(box[0], 0), Math.max(box[1], 0), Math.min(box[2], image.width), Math.min(box[3], image.height)];
  let side = Math.max(framing.margin * Math.max(x2 - x1, y2 - y1), 1);
  let roll = 0;
  if (framing.align === "roll") {
    const [[ax, ay], [bx, by]] = landmarks;
    roll = Math.atan2(by - ay, bx - ax);
  }
  let x = (x1 + x2) / 2 - Math.sin(roll) * framing.shift * side;
  let y = (y1 + y2) / 2 + Math.cos(roll) * framing.shift * side;
  const reach = (side / 2) * (Math.abs(Math.cos(roll)) + Math.abs(Math.sin(roll)));
  const factor = Math.max(1, Math.trunc(side / (SPARE * size)));
  let [patch, left, top] = patchOf(image, x - reach, y - reach, x + reach, y + reach, factor, colour);
  [x, y, side] = [(x - left) / factor, (y - top) / factor, side / factor];
  const area = side / size > 1 ? "box" : "bilinear";
  const filter = framing.resample === "area" ? area : framing.resample;
  if (roll) {
    const fine = size * Math.max(1, Math.ceil(side / size - 0.25));
    const step = side / fine;
    const [cos, sin] = [Math.cos(roll) * step, Math.sin(roll) * step];
    const matrix = [cos, -sin, x - ((cos - sin) * fine) / 2, sin, cos, y - ((sin + cos) * fine) / 2];
    patch = transform(patch, fine, matrix);
    [x, y, side] = [fine / 2, fine / 2, fine];
  }
  const window = [Math.max(x - side / 2, 0), Math.max(y - side / 2, 0), Math.min(x + side / 2, patch.width), Math.min(y + side / 2, patch.height)];
  return resize(patch, size, size, filter, window);
}

function patchOf(image, x1, y1, x2, y2, factor, colour) {
  const extra = 2 * factor; // for filters that look beyond the rectangle
  const left = Math.min(Math.max(0, Math.floor(x1) - extra), image.width - 1);
  const top = Math.min(Math.max(0, Math.floor(y1) - extra), image.height - 1);
  const right = Math.max(Math.min(image.width, Math.ceil(x2) + extra), left + 1);
  const bottom = Math.max(Math.min(image.height, Math.ceil(y2) + extra), top + 1);
  let patch = cut(image, left, top, right, bottom);
  if (colour === "grey") patch = grey(patch);
  if (factor > 1) patch = reduce(patch, factor, factor);
  const before = [[left, x1], [top, y1]].map(([start, low]) => Math.max(0, Math.ceil((start - low) / factor)));
  const after = [[x2, left, patch.width], [y2, top, patch.height]].map(([high, start, length]) => Math.max(0, Math.ceil((high - start) / factor) - length));
  if ([...before, ...after].some((count) => count > 0)) patch = pad(patch, before[0], before[1], after[0], after[1]);
  return [patch, left - before[0] * factor, top - before[1] * factor];
}

// Crops → float32 (N, channels, size, size), as view `one` prepares them.
function prepare(crops, spec) {
  const from = halfEven((crops[0].width - spec.size) / 2);
  const cells = spec.size * spec.size;
  const out = new Float32Array(crops.length * spec.channels * cells);
  crops.forEach((whole, face) => {
    const { bands, data } = cut(whole, from, from, from + spec.size, from + spec.size);
    for (let channel = 0; channel < spec.channels; channel++) {
      const std = Math.fround(spec.std[channel]);
      const scale = Math.fround(1 / Math.fround(255 * std));
      const offset = Math.fround(Math.fround(spec.mean[channel]) / std);
      const start = (face * spec.channels + channel) * cells;
      for (let cell = 0; cell < cells; cell++) {
        out[start + cell] = Math.fround(data[cell * bands + (bands === 1 ? 0 : channel)] * scale) - offset;
      }
    }
  });
  return out;
}

function softmax(logits, temperature) {
  const scores = Array.from(logits, (value) => value / temperature);
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

// The faces of a picture; networks = {detector, classifier}, both as `run` above. Returned as `mien predict --json` prints them.
async function recognise(image, settings, networks, once = false) {
  const { card } = settings;
  const found = (await detect(image, settings, networks.detector, once)).filter(({ box }) => Math.min(box[2] - box[0], box[3] - box[1]) >= settings.min_face);
  const spec = card.input;
  const crops = found.map((face) => crop(image, face, spec.resize || spec.size, spec.colour, card.framing));
  const faces = [];
  for (let start = 0; start < crops.length; start += settings.chunk) {
    const some = crops.slice(start, start + settings.chunk);
    const logits = await networks.classifier(prepare(some, spec), [some.length, spec.channels, spec.size, spec.size]);
    some.forEach((_, row) => {
      const classes = card.labels.length;
      const probabilities = softmax(logits.slice(row * classes, (row + 1) * classes), card.temperatures.one);
      const confidence = Math.max(...probabilities);
      const { box, score, landmarks } = found[start + row];
      faces.push({
        box, score, landmarks, confidence,
        label: card.labels[probabilities.indexOf(confidence)],
        decided: confidence >= card.threshold,
        probabilities: Object.fromEntries(card.labels.map((label, at) => [label, probabilities[at]])),
      });
    });
  }
  return faces;
}
