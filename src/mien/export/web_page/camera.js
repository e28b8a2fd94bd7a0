// The camera on the same stage: the next frame is taken when the last one is answered, so nothing queues up.
"use strict";

const video = document.getElementById("video");
const button = document.getElementById("camera");
let stream = null;

async function open() {
  try {
    if (!navigator.mediaDevices) throw new Error("Browsers give a camera only to pages from https, localhost or a file.");
    stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { width: { ideal: 960 }, frameRate: { ideal: 30 } } });
  } catch (error) {
    const why = { NotAllowedError: "The browser may not use the camera; allow it and start again.", NotFoundError: "There is no camera." };
    return say(why[error.name] ?? error.message, true);
  }
  turn++; // an image that is still looked at is not shown any more
  video.srcObject = stream;
  await video.play();
  button.textContent = "Stop the camera";
  button.setAttribute("aria-pressed", "true");
  showStage(true);
  follow(stream);
}

function close() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  button.textContent = "Camera";
  button.setAttribute("aria-pressed", "false");
}

async function follow(mine) {
  const times = [];
  while (stream === mine) {
    const frame = await createImageBitmap(video);
    const seen = await createImageBitmap(frame);
    const found = await ask(frame, true).catch((error) => { say(error.message, true); return null; });
    if (stream !== mine || !found) break;
    paint(seen, found);
    seen.close();
    times.push(performance.now());
    while (times[0] < performance.now() - 2000) times.shift();
    canvas.dataset.rate = times.length / 2;
    say(`${Math.round(times.length / 2)} frames/s`);
    await new Promise(requestAnimationFrame);
  }
  if (stream === mine) close();
}

button.addEventListener("click", () => (stream ? close() : open()));
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && stream) close(); });
input.addEventListener("change", close);
document.addEventListener("drop", close);
document.addEventListener("paste", close);
