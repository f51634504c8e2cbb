"use strict";
// Comfort for pages that work without it: copy buttons, and menus that close. No inline script: the content policy is strict.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button, document.getElementById(button.dataset.copy));
  document.querySelectorAll("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
});
const copy = (button, source) => {
  const selected = () => {  // the clipboard needs HTTPS or loopback: elsewhere the text is left selected for Ctrl-C
    if (source.select) source.select(); else window.getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  };
  const done = () => { button.textContent = "Copied"; button.nextElementSibling.textContent = "Copied to the clipboard."; };
  if (!navigator.clipboard) { if (selected()) done(); return; }
  navigator.clipboard.writeText(source.value ?? source.textContent).then(done, () => { if (selected()) done(); });
};
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  document.querySelectorAll("details.menu[open]").forEach((menu) => { menu.open = false; menu.querySelector("summary").focus(); });
});
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = false; });
});
