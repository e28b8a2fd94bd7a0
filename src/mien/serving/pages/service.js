// The token, where the service wants one, and the question about one image.
"use strict";

let token = "";
const headers = (more) => (token ? { ...more, authorization: `Bearer ${token}` } : more);
const askForToken = () => {
  token = (window.prompt("This service wants its token:") || "").trim();
  return token !== "";
};

// Asked by image.js.
async function ask(file) {
  const kind = file.type.startsWith("image/") ? file.type : "application/octet-stream";
  const named = `attachment; filename*=UTF-8''${encodeURIComponent(file.name || "image").replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16)}`)}`;
  const about = { "content-type": kind, "content-disposition": named };
  const send = () => fetch("/v1/predict", { method: "POST", body: file, headers: headers(about) });
  const failed = () => { throw new Error("The service does not answer; is it running?"); };
  let response = await send().catch(failed);
  if (response.status === 401 && askForToken()) response = await send().catch(failed);
  const answer = await response.json().catch(() => null);
  if (!response.ok || !answer) throw new Error(answer?.error?.message ?? `The service answered with ${response.status}.`);
  return answer.images[0];
}
