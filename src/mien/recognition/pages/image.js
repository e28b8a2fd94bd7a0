// An image is dropped, pasted or chosen; `ask(file)` of the page answers {width, height, faces}, or throws what to say.
// With `ms` in the answer that is the time told, which leaves out what the page waited for before.
"use strict";

const stage = document.getElementById("stage");
const canvas = document.getElementById("picture");
const note = document.getElementById("note");
const list = document.getElementById("faces");
const input = document.getElementById("file");
let shown = null; // what the stage shows
let turn = 0; // of several images only the last one is shown

function say(text, warn = false) {
  note.textContent = text;
  note.classList.toggle("warn", warn);
}

function showStage(shown) {
  const held = document.activeElement?.classList.contains("choose");
  document.getElementById("invite").hidden = shown;
  document.getElementById("again").hidden = !shown;
  canvas.hidden = !shown;
  // The button that was used may be gone now: whoever has no mouse goes on from the one in its place.
  if (held) document.querySelector(shown ? "#again" : "#invite .choose").focus({ preventScroll: true });
}

async function show(file) {
  if (!file) return;
  const mine = ++turn;
  list.replaceChildren();
  say("looking …");
  stage.setAttribute("aria-busy", "true");
  const began = performance.now();
  let picture = null;
  let found;
  try {
    [picture, found] = await Promise.all([createImageBitmap(file).catch(() => null), ask(file)]);
  } catch (error) {
    if (mine === turn) { showStage(false); say(error.message, true); }
    return;
  } finally {
    if (mine === turn) stage.removeAttribute("aria-busy");
  }
  if (mine !== turn) return;
  showStage(true);
  paint(picture, found);
  const count = found.faces.length;
  const what = count === 0 ? "No face found" : count === 1 ? "1 face" : `${count} faces`;
  say(`${what} in ${Math.round(found.ms ?? performance.now() - began)} ms`);
}

function paint(picture, found) {
  canvas.width = Math.min(found.width, 1600);
  canvas.height = Math.round((found.height * canvas.width) / found.width);
  const pen = canvas.getContext("2d");
  if (picture) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  drawFaces(pen, found.faces, canvas.width / found.width);
  shown = { picture, found };
  list.replaceChildren(...found.faces.map((face) => card(face, picture)));
}

// Labels are as large as the picture is shown: a turned phone shows it in another size.
window.addEventListener("resize", () => { if (shown && !canvas.hidden) paint(shown.picture, shown.found); });
for (const button of document.querySelectorAll(".choose")) button.addEventListener("click", () => input.click());
input.addEventListener("change", () => { show(input.files[0]); input.value = ""; });
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); stage.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); stage.classList.remove("over"); });
}
document.addEventListener("drop", (event) => show(event.dataTransfer.files[0]));
document.addEventListener("paste", (event) => show([...event.clipboardData.files][0]));
