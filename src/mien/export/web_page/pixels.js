// Pictures as {width, height, bands, data}, bytes row by row, 1 band (grey) or 3 (RGB); the arithmetic is Pillow's, in
// which the network's faces were and are framed: 8 bits between two passes, coefficients of 22 bits, averages rounded.
"use strict";

const BITS = 22;
const HALF = 1 << (BITS - 1);

const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => cubic(Math.abs(x))],
  lanczos: [3, (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};
const cubic = (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((x - 5) * x + 8) * x * -0.5 + 2 : 0);
const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

function picture(width, height, bands, data) {
  return { width, height, bands, data: data ?? new Uint8Array(width * height * bands) };
}

// RGBA as a canvas gives it, opaque.
function fromCanvas(width, height, rgba) {
  const out = picture(width, height, 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    out.data[to] = rgba[from];
    out.data[to + 1] = rgba[from + 1];
    out.data[to + 2] = rgba[from + 2];
  }
  return out;
}

// Every step-th pixel of a rectangle.
function cut(image, left, top, right, bottom, step = 1) {
  const out = picture(Math.ceil((right - left) / step), Math.ceil((bottom - top) / step), image.bands);
  let to = 0;
  for (let y = top; y < bottom; y += step) {
    for (let x = left; x < right; x += step) {
      const from = (y * image.width + x) * image.bands;
      for (let band = 0; band < image.bands; band++) out.data[to++] = image.data[from + band];
    }
  }
  return out;
}

// Luma by ITU-R 601.
function grey(image) {
  if (image.bands === 1) return image;
  const out = picture(image.width, image.height, 1);
  for (let to = 0, from = 0; to < out.data.length; to++, from += 3) {
    const [r, g, b] = [image.data[from], image.data[from + 1], image.data[from + 2]];
    out.data[to] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
  }
  return out;
}

// Averages of across × down pixels; those at the far borders are of what is there.
function reduce(image, across, down) {
  const out = picture(Math.ceil(image.width / across), Math.ceil(image.height / down), image.bands);
  let to = 0;
  for (let y = 0; y < out.height; y++) {
    const bottom = Math.min((y + 1) * down, image.height);
    for (let x = 0; x < out.width; x++) {
      const right = Math.min((x + 1) * across, image.width);
      const count = (right - x * across) * (bottom - y * down);
      const share = Math.trunc(Math.fround(2 ** 24 / count));
      for (let band = 0; band < image.bands; band++) {
        let sum = count >> 1;
        for (let row = y * down; row < bottom; row++) {
          for (let column = x * across; column < right; column++) {
            sum += image.data[(row * image.width + column) * image.bands + band];
          }
        }
        out.data[to++] = Math.floor((sum * share) / 2 ** 24);
      }
    }
  }
  return out;
}

// The box x1 y1 x2 y2 of a picture, brought to a size.
function resize(image, width, height, filter, box = [0, 0, image.width, image.height]) {
  const [x1, y1, x2, y2] = box.map(Math.fround);
  const across = width !== image.width || x1 !== 0 || x2 !== width;
  const down = height !== image.height || y1 !== 0 || y2 !== height;
  const passes = [];
  if (across) passes.push((from) => pass(from, coefficients(image.width, x1, x2, width, filter), width, true));
  if (down) passes.push((from) => pass(from, coefficients(image.height, y1, y2, height, filter), height, false));
  // As Pillow does since 13: what loses many more rows than columns loses them first. The order decides about the last
  // bit, as there are only 8 between the passes.
  if (image.height - height > 2 * Math.max(0, image.width - width)) passes.reverse();
  return passes.reduce((from, next) => next(from), image);
}

// First reduced by whole factors as far as `gap` allows, then resized.
function resizeFast(image, width, height, filter, gap) {
  if (image.width === width && image.height === height) return image;
  const across = Math.trunc(image.width / width / gap) || 1;
  const down = Math.trunc(image.height / height / gap) || 1;
  if (across === 1 && down === 1) return resize(image, width, height, filter);
  const reduced = reduce(image, across, down);
  return resize(reduced, width, height, filter, [0, 0, image.width / across, image.height / down]);
}

function coefficients(length, from, to, count, filter) {
  const [reach, weigh] = FILTERS[filter];
  const scale = Math.fround(to - from) / count;
  const wide = Math.max(scale, 1);
  const support = reach * wide;
  return Array.from({ length: count }, (_, place) => {
    const centre = from + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(length, Math.trunc(centre + support + 0.5));
    const weights = Array.from({ length: last - first }, (_, at) => weigh((at + first - centre + 0.5) * (1 / wide)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    const parts = weights.map((weight) => (sum ? weight / sum : weight) * (1 << BITS));
    return [first, Int32Array.from(parts, (part) => Math.trunc(part + (part < 0 ? -0.5 : 0.5)))];
  });
}

function pass(image, plan, size, across) {
  const { bands } = image;
  const out = across ? picture(size, image.height, bands) : picture(image.width, size, bands);
  const step = across ? bands : image.width * bands;
  for (let y = 0; y < out.height; y++) {
    for (let x = 0; x < out.width; x++) {
      const [first, weights] = plan[across ? x : y];
      const start = across ? (y * image.width + first) * bands : (first * image.width + x) * bands;
      for (let band = 0; band < bands; band++) {
        let sum = HALF;
        for (let at = 0, from = start + band; at < weights.length; at++, from += step) sum += image.data[from] * weights[at];
        out.data[(y * out.width + x) * bands + band] = Math.min(255, Math.max(0, sum >> BITS));
      }
    }
  }
  return out;
}

// A square of the given side whose pixel (x, y) comes from matrix · (x, y, 1); black where that lies outside.
function transform(image, side, [a, b, c, d, e, f]) {
  const { width, height, bands, data } = image;
  const out = picture(side, side, bands);
  let to = 0;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++, to += bands) {
      const atX = a * (x + 0.5) + b * (y + 0.5) + c;
      const atY = d * (x + 0.5) + e * (y + 0.5) + f;
      if (!(atX >= 0 && atX < width && atY >= 0 && atY < height)) continue;
      const [left, top] = [Math.floor(atX - 0.5), Math.floor(atY - 0.5)];
      const [dx, dy] = [atX - 0.5 - left, atY - 0.5 - top];
      const columns = [Math.max(left, 0), Math.min(left + 1, width - 1)];
      const rows = [Math.max(top, 0), Math.min(top + 1, height - 1)];
      for (let band = 0; band < bands; band++) {
        const [upper, lower] = rows.map((row) => {
          const [v, w] = columns.map((column) => data[(row * width + column) * bands + band]);
          return v + (w - v) * dx;
        });
        out.data[to + band] = Math.trunc(upper + (lower - upper) * dy);
      }
    }
  }
  return out;
}

// The outermost pixels repeated beyond the borders.
function pad(image, left, top, right, bottom) {
  const out = picture(image.width + left + right, image.height + top + bottom, image.bands);
  let to = 0;
  for (let y = -top; y < image.height + bottom; y++) {
    const row = Math.min(Math.max(y, 0), image.height - 1) * image.width;
    for (let x = -left; x < image.width + right; x++) {
      const from = (row + Math.min(Math.max(x, 0), image.width - 1)) * image.bands;
      for (let band = 0; band < image.bands; band++) out.data[to++] = image.data[from + band];
    }
  }
  return out;
}
