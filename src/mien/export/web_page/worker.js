// The recogniser, beside the page so that it never halts; behind the runtime, which is `ort`. It is given the networks
// once, then pictures.
"use strict";

let settings = null;
const networks = {};

async function load(given) {
  settings = given.settings;
  ort.env.wasm.wasmBinary = given.wasm;
  ort.env.wasm.numThreads = 1; // more would need memory that browsers share only with pages isolated from all others
  ort.env.logLevel = "error";
  // Steps of a quantised network are joined as in Python, or a rounding here and there would differ.
  const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
  const detector = await ort.InferenceSession.create(given.detector, options);
  const classifier = await ort.InferenceSession.create(given.classifier, options);
  networks.detector = async (values, shape) => {
    const out = await detector.run({ [detector.inputNames[0]]: new ort.Tensor("float32", values, shape) });
    const [heat, size, offset, points] = detector.outputNames.map((name) => out[name]);
    return { heat, size, offset, points };
  };
  networks.classifier = async (values, shape) => {
    const { logits } = await classifier.run({ input: new ort.Tensor("float32", values, shape) }, ["logits"]);
    return logits.data;
  };
}

// Upright, without its colour profile, on white.
async function decode(source) {
  let bitmap = source;
  if (source instanceof Blob) {
    if (source.size > settings.max_bytes) throw new Error(`The image is larger than ${settings.max_bytes >> 20} MiB; shrink it.`);
    bitmap = await createImageBitmap(source, { colorSpaceConversion: "none" }).catch(() => null);
    if (!bitmap) throw new Error("This is no image that this browser can read; JPEG, PNG and WebP are read everywhere.");
  }
  const { width, height } = bitmap;
  if (width * height > settings.max_pixels) throw new Error(`The image has ${width} × ${height} pixels; shrink it.`);
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  return fromCanvas(width, height, pen.getImageData(0, 0, width, height).data);
}

self.onmessage = async ({ data }) => {
  try {
    if (data.load) {
      await load(data.load);
      self.postMessage({ id: data.id });
      return;
    }
    const began = performance.now();
    const image = await decode(data.source);
    const faces = await recognise(image, settings, networks, data.once);
    self.postMessage({ id: data.id, found: { width: image.width, height: image.height, faces, ms: performance.now() - began } });
  } catch (error) {
    self.postMessage({ id: data.id, error: String(error?.message ?? error) });
  }
};
