// Keeps the front page fresh while somebody looks at it.
"use strict";

async function refresh() {
  if (!document.hidden) {
    try {
      const reply = await fetch(location.href, { cache: "no-store" });
      if (reply.ok) {
        const next = new DOMParser().parseFromString(await reply.text(), "text/html");
        const [old, fresh] = [document.getElementById("main"), next.getElementById("main")];
        const free = !old.contains(document.activeElement) && !String(getSelection());
        if (fresh && free && old.innerHTML !== fresh.innerHTML) { old.replaceWith(fresh); }
      }
    } catch { /* the server restarts: look again */ }
  }
  setTimeout(refresh, 5000);
}
setTimeout(refresh, 5000);
