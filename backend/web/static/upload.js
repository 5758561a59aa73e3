// Drag and drop for the upload form, with progress; without JavaScript it is a plain form.
"use strict";

const form = document.querySelector("form.drop");
const input = form.querySelector("input[type=file]");
const bar = form.querySelector("progress");
const problem = form.querySelector(".failure");

for (const name of ["dragenter", "dragover"]) {
  form.addEventListener(name, (event) => { event.preventDefault(); form.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  form.addEventListener(name, () => form.classList.remove("over"));
}
form.addEventListener("drop", (event) => {
  event.preventDefault();
  input.files = event.dataTransfer.files;
  if (input.files.length) { form.requestSubmit(); }
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  problem.textContent = "";
  const file = input.files[0];
  if (file.size > Number(form.dataset.limit)) { problem.textContent = "The package is larger than this server accepts."; return; }
  const request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.responseType = "document";
  bar.hidden = false;
  request.upload.addEventListener("progress", (step) => { bar.value = 100 * step.loaded / step.total; });
  request.addEventListener("load", () => {
    if (request.status === 200) { location.assign(location.pathname + "?sent=" + Date.now() + "#builds"); return; }
    bar.hidden = true;
    problem.textContent = request.response?.querySelector("main p")?.textContent || `refused (${request.status})`;
  });
  request.addEventListener("error", () => { bar.hidden = true; problem.textContent = "The connection broke."; });
  request.send(new FormData(form));
});
