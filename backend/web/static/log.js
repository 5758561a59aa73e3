// Follows one log: events whose ids are byte offsets, so a broken connection goes on by itself.
"use strict";

// Characters that are kept while following: a page that is open for days must not grow for ever.
const MOST = 2 * 1024 * 1024;
const pre = document.getElementById("log");
const note = document.getElementById("live");
let offset = Number(pre.dataset.offset);
let source = null;
let pieces = [];

function say(text) { note.textContent = text; }

function stop() { if (source) { source.close(); source = null; } }

function low() { return innerHeight + scrollY > document.body.scrollHeight - 80; }

function forget() {
  let shown = pieces.reduce((sum, piece) => sum + piece.node.length, 0);
  while (shown > MOST && pieces.length > 1) {
    const old = pieces.shift();
    shown -= old.node.length;
    old.node.remove();
    document.getElementById("start").textContent = old.end;
  }
}

function add(text) {
  const node = document.createTextNode(text);
  pre.append(node);
  pieces.push({ node, end: offset });
}

function began() {
  pieces = [];
  pre.textContent = "";
  offset = 0;
  document.getElementById("start").textContent = 0;
  say("Another attempt has begun.");
}

// A proxy that answers for a frontend that is away ends the browser's own attempts.
function lost() {
  const over = source && source.readyState === EventSource.CLOSED;
  say("The connection is lost; trying again.");
  if (over) {
    stop();
    setTimeout(() => { if (!source && !document.hidden && pre.dataset.follow) { follow(); } }, 4000);
  }
}

function follow() {
  stop();
  source = new EventSource(`${pre.dataset.follow}?offset=${offset}`);
  source.addEventListener("open", () => say("Following the log."));
  source.addEventListener("error", lost);
  source.addEventListener("message", (event) => {
    const end = low();
    offset = Number(event.lastEventId);
    add(JSON.parse(event.data));
    document.getElementById("end").textContent = offset;
    if (end) { forget(); scrollTo(0, document.body.scrollHeight); }
  });
  source.addEventListener("restart", began);
  source.addEventListener("end", () => { stop(); pre.dataset.follow = ""; say("The log is complete."); });
}

if (pre.dataset.follow && pre.dataset.has) {
  if (pre.firstChild) { pieces.push({ node: pre.firstChild, end: offset }); }
  if (!document.hidden) { follow(); }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stop(); } else if (pre.dataset.follow) { follow(); }
  });
} else if (pre.dataset.follow) {
  say("There is no log yet; this page looks again.");
  setInterval(() => { if (!document.hidden) { location.reload(); } }, 4000);
}
