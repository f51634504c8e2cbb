"use strict";
// Copy buttons and "are you sure". No inline script: pages work under a strict content security policy.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-relay-copy]");
  if (!button) return;
  const field = document.getElementById(button.dataset.relayCopy);
  field.select();
  const done = () => { button.textContent = "Copied"; };
  // The clipboard needs HTTPS or loopback; elsewhere the selection is left for Ctrl-C.
  if (navigator.clipboard) navigator.clipboard.writeText(field.value).then(done, () => document.execCommand("copy"));
  else if (document.execCommand("copy")) done();
});
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.relayConfirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
