// Follows one log: events whose ids are byte offsets, so a broken connection goes on by itself.
"use strict";

const pre = document.getElementById("log");
const note = document.getElementById("live");
let offset = Number(pre.dataset.offset);
let source = null;

function say(text) { note.textContent = text; }

function stop() { if (source) { source.close(); source = null; } }

function follow() {
  stop();
  source = new EventSource(`${pre.dataset.follow}?offset=${offset}`);
  say("Following the log.");
  source.addEventListener("message", (event) => {
    const low = innerHeight + scrollY > document.body.scrollHeight - 80;
    pre.append(JSON.parse(event.data));
    offset = Number(event.lastEventId);
    document.getElementById("end").textContent = offset;
    if (low) { scrollTo(0, document.body.scrollHeight); }
  });
  source.addEventListener("restart", () => { pre.textContent = ""; offset = 0; say("Another attempt has begun."); });
  source.addEventListener("end", () => { stop(); pre.dataset.follow = ""; say("The log is complete."); });
}

if (pre.dataset.follow && pre.dataset.has) {
  follow();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stop(); } else if (pre.dataset.follow) { follow(); }
  });
} else if (pre.dataset.follow) {
  say("There is no log yet; this page looks again.");
  setTimeout(() => location.reload(), 4000);
}
