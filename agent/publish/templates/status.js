"use strict";
// Fetches the page every five seconds and swaps its content in place: no jump, nothing folds shut,
// a selection stays. When the agent does not answer, it says so instead of showing old calm.
let answered = Date.now();
// Buttons need this script, and are hidden without it.
const reveal = () => {
  for (const button of document.querySelectorAll("[data-acknowledge]")) button.hidden = false;
};
reveal();
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-acknowledge]");
  const by = button && prompt("Who looks after this alarm?");
  if (!button || by === null) return;
  button.disabled = true;
  let said = "The agent did not answer";
  try {
    const path = "api/v1/alarms/" + encodeURIComponent(button.dataset.acknowledge) + "/acknowledge";
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify({ by }) });
    said = answer.ok ? "Acknowledged" : (await answer.json()).error;
  } catch {}
  button.disabled = false;
  button.nextElementSibling.textContent = said;
});
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
    reveal();
  } catch {
    lost.hidden = false;
    const seconds = Math.round((Date.now() - answered) / 1000);
    document.getElementById("lost-for").textContent = seconds + " s";
  }
}, 5000);
