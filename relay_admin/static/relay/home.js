"use strict";
// The home's part that asks other processes, and the first call as it arrives. Without a script both are links.
const POLL_MS = 1500;

const load = async (place) => {
  try {
    const answer = await fetch(place.dataset.relayLoad, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    place.innerHTML = await answer.text();
  } catch {
    place.textContent = "The control plane did not answer. Load the page again.";
  }
};

const paragraph = (call) => {
  const line = document.createElement("p");
  const dot = document.createElement("span");
  const link = document.createElement("a");
  dot.className = `relay-dot relay-dot-${call.isServed ? "success" : "danger"}`;
  dot.setAttribute("aria-hidden", "true");
  link.href = call.url;
  link.textContent = call.isServed ? "See its way to the answer" : "See what it met";
  const error = call.error ? ` (${call.error})` : "";
  line.append(dot, `It arrived: ${call.model} answered ${call.status}${error} after ${call.took}. `, link);
  return line;
};

// One call at a time; a tab that nobody looks at asks nothing. It goes on after a call that failed.
const wait = async (place) => {
  let after = place.dataset.after;
  place.querySelector("a[href^='?']")?.remove();  // which looks once
  for (;;) {
    await new Promise((done) => { setTimeout(done, POLL_MS); });
    if (document.hidden) continue;
    const answer = await fetch(`${place.dataset.relayArrived}?after=${encodeURIComponent(after)}`).catch(() => null);
    if (!answer) continue;  // the network or the control plane is away for a moment
    if (!answer.ok || answer.redirected) {
      place.textContent = "You are signed out, or may not see calls any more. Load the page again.";
      return;
    }
    const { call } = await answer.json();
    if (!call) continue;
    place.replaceChildren(paragraph(call));
    if (call.isServed) return;
    after = call.id;
  }
};

document.querySelectorAll("[data-relay-load]").forEach(load);
document.querySelectorAll("[data-relay-arrived]").forEach(wait);
