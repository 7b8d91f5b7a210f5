"use strict";
// Fetches the page every five seconds and swaps its content in place: no jump, nothing folds shut,
// a selection stays. When the agent does not answer, it says so instead of showing old calm.
let answered = Date.now();
setInterval(async () => {
  const lost = document.getElementById("lost");
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(4000) });
    if (!answer.ok) throw new Error(answer.status);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    answered = Date.now();
    lost.hidden = true;
    if (String(getSelection())) return;
    for (const now of document.querySelectorAll("details[id]")) {
      const then = next.getElementById(now.id);
      if (then) then.open = now.open;
    }
    document.title = next.title;
    document.getElementById("icon").href = next.getElementById("icon").href;
    document.getElementById("content").replaceWith(next.getElementById("content"));
  } catch {
    lost.hidden = false;
    const seconds = Math.round((Date.now() - answered) / 1000);
    document.getElementById("lost-for").textContent = seconds + " s";
  }
}, 5000);
