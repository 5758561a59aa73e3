// Follows the logs of a build by byte offset. One byte is asked for again each time: such a
// range always exists, so an unchanged log is no error.
"use strict";

const tasks = document.getElementById("tasks");
const logs = new Map();

// Here only the end of a log is shown; the whole of it is behind the link.
const LONG = 64 * 1024;
// Characters that are kept while following: a page that is open for days must not grow for ever.
const MOST = 8 * LONG;

async function follow(section, url, size) {
  const pre = section.querySelector(".log");
  if (logs.has(url) && size < logs.get(url).offset) { logs.delete(url); } // another attempt began
  const log = logs.get(url) || { offset: size > LONG ? size - LONG : 0, decoder: new TextDecoder() };
  if (logs.has(url) && size <= log.offset) { return; }
  const headers = log.offset ? { Range: `bytes=${log.offset - 1}-` } : {};
  const reply = await fetch(url, { headers, cache: "no-store" });
  if (!reply.ok) { return; }
  const bytes = new Uint8Array(await reply.arrayBuffer());
  const fresh = reply.status === 206 && log.offset ? bytes.subarray(1) : bytes;
  if (!logs.has(url)) { pre.textContent = ""; logs.set(url, log); }
  log.offset += fresh.length;
  if (!fresh.length) { return; }
  const end = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
  pre.append(log.decoder.decode(fresh, { stream: true }));
  while (end && pre.textContent.length > MOST && pre.childNodes.length > 1) { pre.firstChild.remove(); }
  pre.hidden = false;
  if (end) { pre.scrollTop = pre.scrollHeight; }
}

function show(badge, state) {
  badge.textContent = state;
  badge.className = `state ${state}`;
}

async function look() {
  const reply = await fetch(tasks.dataset.url, { cache: "no-store" });
  if (!reply.ok) { return false; }
  const now = await reply.json();
  show(document.getElementById("state"), now.state);
  const sections = new Map([...tasks.children].map((s) => [s.dataset.task, s]));
  for (const task of now.tasks) {
    const section = sections.get(task.name);
    if (!section) { location.reload(); return true; }
    show(section.querySelector(".state"), task.state);
    section.querySelector(".said").textContent = task.failure || "";
    section.querySelector(".waiting").textContent = task.waiting;
    if (task.log) { await follow(section, task.log, task.log_size); }
  }
  if (now.finished) { location.reload(); }
  return now.finished;
}

async function loop() {
  let done = false;
  try { done = document.hidden ? false : await look(); } catch { /* the server restarts: look again */ }
  if (!done) { setTimeout(loop, 2000); }
}

if (tasks.dataset.finished === "no") { loop(); }
