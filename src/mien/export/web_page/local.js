// Unpacks what lies in this page and hands it to the recogniser beside it; nothing is asked of any server.
"use strict";

const part = (name) => document.getElementById(`mien-${name}`).textContent;

async function unpacked(name) {
  const text = part(name).trim();
  const packed = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

const waiting = new Map();
let worker = null;
let count = 0;

// One script of the runtime and of ours, in a block of its own so that no name meets another.
async function start() {
  const script = new Blob([await unpacked("runtime"), `\n{\n${part("worker")}\n}\n`], { type: "text/javascript" });
  worker = new Worker(URL.createObjectURL(script));
  worker.onmessage = ({ data }) => {
    const { done, failed } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) failed(new Error(data.error)); else done(data.found);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    for (const { failed } of waiting.values()) failed(new Error("The recogniser cannot be started; this browser may be too old for it."));
    waiting.clear();
  };
}

function question(content, given = []) {
  return new Promise((done, failed) => {
    waiting.set(++count, { done, failed });
    worker.postMessage({ ...content, id: count }, given);
  });
}

const ready = (async () => {
  await start();
  const [wasm, detector, classifier] = await Promise.all(["wasm", "detector", "classifier"].map(unpacked));
  const load = { settings: JSON.parse(part("settings")), wasm, detector: new Uint8Array(detector), classifier: new Uint8Array(classifier) };
  await question({ load }, [wasm, detector, classifier]);
})();
ready.then(() => { document.documentElement.dataset.ready = Math.round(performance.now()); }, (error) => say(error.message, true));

// Asked by image.js and camera.js: a file or a bitmap → {width, height, faces}.
async function ask(source, once = false) {
  await ready;
  return question({ source, once }, source instanceof ImageBitmap ? [source] : []);
}
