"use strict";

const stage = document.getElementById("stage");
const canvas = document.getElementById("picture");
const note = document.getElementById("note");
const list = document.getElementById("faces");
const input = document.getElementById("file");

function say(text, warn = false) {
  note.textContent = text;
  note.classList.toggle("warn", warn);
}

async function show(file) {
  if (!file) return;
  list.replaceChildren();
  say("looking …");
  const began = performance.now();
  const picture = await createImageBitmap(file).catch(() => null);
  let response;
  try {
    const ask = () => fetch("/v1/predict", { method: "POST", body: file, headers: headers({ "content-type": file.type.startsWith("image/") ? file.type : "application/octet-stream" }) });
    response = await ask();
    if (response.status === 401 && askForToken()) response = await ask();
  } catch {
    say("The service does not answer; is it running?", true);
    return;
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok || !answer) {
    canvas.hidden = true;
    document.getElementById("invite").hidden = false;
    document.getElementById("again").hidden = true;
    say(answer?.error?.message ?? `The service answered with ${response.status}.`, true);
    return;
  }
  const found = answer.images[0];
  document.getElementById("invite").hidden = true;
  document.getElementById("again").hidden = false;
  canvas.hidden = false;
  canvas.width = Math.min(found.width, 1600);
  canvas.height = Math.round((found.height * canvas.width) / found.width);
  const pen = canvas.getContext("2d");
  if (picture) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  drawFaces(pen, found.faces, canvas.width / found.width);
  list.replaceChildren(...found.faces.map((face) => card(face, picture)));
  const count = found.faces.length;
  const what = count === 0 ? "No face found" : count === 1 ? "1 face" : `${count} faces`;
  say(`${what} in ${Math.round(performance.now() - began)} ms`);
}

input.addEventListener("change", () => { show(input.files[0]); input.value = ""; });
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); stage.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); stage.classList.remove("over"); });
}
document.addEventListener("drop", (event) => show(event.dataTransfer.files[0]));
document.addEventListener("paste", (event) => show([...event.clipboardData.files][0]));
