// One frame is on its way at a time: the next one is taken when the answer to the last has come, so nothing queues up.
// It is on its way before the last one is painted, so that browser and service work at the same time.
"use strict";

const id = (name) => document.getElementById(name);
const video = id("video");
const canvas = id("picture");
const pen = canvas.getContext("2d");
let sent = document.createElement("canvas"); // the frame that the next answer will be about, as the camera gave it
let seen = document.createElement("canvas"); // the frame that the last answer was about
const small = document.createElement("canvas"); // as it was sent
small.getContext("2d", { willReadFrequently: true }); // encoding reads it
const HISTORY = 12000; // milliseconds
const GOAL = 66; // milliseconds per answer: 15 frames per second
const LISTED = 100; // milliseconds between two changes of the cards, which nobody reads faster

let socket = null;
let stream = null;
let running = false;
let mirrored = true;
let faces = [];
let scale = 1;
let side = 640;
let sentAt = 0;
let waiting = false; // for an answer
let fresh = false; // whether the camera has given a frame that was not looked at
let seenScale = 1;
let listed = 0;
let latency = 0;
const answers = [];
const history = [];

function complain(text) {
  id("problem").textContent = text;
  id("problem").hidden = !text;
}

async function openCamera(device) {
  stream?.getTracks().forEach((track) => track.stop());
  try {
    const wish = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
    stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: device ? { ...wish, deviceId: { exact: device } } : wish });
  } catch (error) {
    const why = { NotAllowedError: "The browser may not use the camera; allow it and start again.", NotFoundError: "There is no camera." };
    complain(why[error.name] ?? `The camera cannot be used: ${error.message}`);
    return false;
  }
  video.srcObject = stream;
  await video.play();
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
  const now = stream.getVideoTracks()[0].getSettings().deviceId;
  id("camera").replaceChildren(...cameras.map((camera, number) => {
    const option = new Option(camera.label || `Camera ${number + 1}`, camera.deviceId);
    option.selected = camera.deviceId === now;
    return option;
  }));
  return true;
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/v1/live`, token ? ["mien", `token.${token}`] : ["mien"]);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { complain(""); waiting = false; send(); };
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = (event) => {
    waiting = false;
    if (!running) return;
    if (event.code === 4401 && askForToken()) return connect();
    complain(event.reason || "The service does not answer; trying again.");
    if (event.code < 4000 || event.code === 4408) setTimeout(connect, 1000);
  };
}

function receive(answer) {
  waiting = false;
  const now = performance.now();
  latency = now - sentAt;
  answers.push(now);
  while (answers.length && answers[0] < now - 2000) answers.shift();
  // Slow machines get smaller frames, fast ones larger, so that the picture stays live.
  if (latency > GOAL * 1.2) side = Math.max(320, side - 32);
  else if (latency < GOAL * 0.6) side = Math.min(960, side + 16);
  [sent, seen, seenScale] = [seen, sent, scale];
  send();
  if (answer.error) return complain(answer.error.message);
  complain("");
  faces = answer.faces;
  paint();
  remember();
  canvas.dataset.faces = faces.length;
  canvas.dataset.rate = (answers.length / 2).toFixed(1);
  if (now - listed < LISTED) return;
  listed = now;
  id("none").hidden = faces.length > 0;
  id("faces").replaceChildren(...faces.slice(0, 12).map((face) => card(face, seen, seenScale)));
  id("note").textContent = `${(answers.length / 2).toFixed(0)} frames/s · ${Math.round(latency)} ms`;
}

function remember() {
  const area = (face) => (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]);
  const largest = faces.reduce((best, face) => (!best || area(face) > area(best) ? face : best), null);
  const now = performance.now();
  history.push({ time: now, probabilities: largest?.probabilities ?? null });
  while (history.length && history[0].time < now - HISTORY) history.shift();
  if (largest && !id("key").children.length) {
    id("key").replaceChildren(...Object.keys(largest.probabilities).map((label) => {
      const entry = document.createElement("span");
      entry.textContent = label;
      entry.style.setProperty("--c", colourOf(label));
      return entry;
    }));
  }
  const strip = id("strip");
  const ink = strip.getContext("2d");
  ink.clearRect(0, 0, strip.width, strip.height);
  const x = (time) => strip.width * (1 - (now - time) / HISTORY);
  for (let i = 1; i < history.length; i++) {
    if (!history[i].probabilities) continue;
    let y = strip.height;
    for (const [label, value] of Object.entries(history[i].probabilities)) {
      ink.fillStyle = colourOf(label);
      const high = value * strip.height;
      ink.fillRect(x(history[i - 1].time), y - high, x(history[i].time) - x(history[i - 1].time) + 1, high);
      y -= high;
    }
  }
}

// Calls `send` whenever the camera has given a frame.
function watch() {
  const come = () => { fresh = true; send(); watch(); };
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(come);
  else requestAnimationFrame(come);
}

async function send() {
  if (!running || !fresh || waiting || socket?.readyState !== WebSocket.OPEN || !video.videoWidth) return;
  waiting = true;
  fresh = false;
  sent.width = video.videoWidth;
  sent.height = video.videoHeight;
  sent.getContext("2d").drawImage(video, 0, 0);
  const shrink = Math.min(1, side / Math.max(sent.width, sent.height));
  small.width = Math.round(sent.width * shrink);
  small.height = Math.round(sent.height * shrink);
  small.getContext("2d").drawImage(sent, 0, 0, small.width, small.height);
  scale = 1 / shrink;
  const blob = await new Promise((done) => small.toBlob(done, "image/jpeg", 0.8));
  if (!blob || !running || socket.readyState !== WebSocket.OPEN) { waiting = false; return; }
  sentAt = performance.now();
  socket.send(await blob.arrayBuffer());
}

// The frame that was looked at is shown, not a newer one: boxes lie where the faces are, however slow the machine.
function paint() {
  if (canvas.width !== seen.width || canvas.height !== seen.height) { canvas.width = seen.width; canvas.height = seen.height; }
  pen.save();
  if (mirrored) { pen.translate(canvas.width, 0); pen.scale(-1, 1); }
  pen.drawImage(seen, 0, 0);
  pen.restore();
  drawFaces(pen, faces, seenScale, { mirrored, width: canvas.width });
}

id("start").addEventListener("click", async () => {
  if (!(await openCamera())) return;
  id("invite").hidden = true;
  canvas.hidden = id("controls").hidden = id("history").hidden = false;
  running = true;
  connect();
  watch();
});
id("camera").addEventListener("change", (event) => openCamera(event.target.value));
id("mirror").addEventListener("click", (event) => {
  mirrored = !mirrored;
  event.target.setAttribute("aria-pressed", String(mirrored));
});
id("pause").addEventListener("click", (event) => {
  running = !running;
  event.target.textContent = running ? "Pause" : "Go on";
  stream.getVideoTracks()[0].enabled = running;
});
id("snapshot").addEventListener("click", () => {
  const link = document.createElement("a");
  link.download = `mien-${new Date().toISOString().replace(/[:.]/g, "-")}.png`;
  link.href = canvas.toDataURL("image/png");
  link.click();
});
