"use strict";
// Copy buttons, "are you sure", rows that are added to a form, and names for select2's boxes. No inline script: pages work under a strict content security policy.
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
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-relay-add-row]").forEach((button) => {
    const rows = () => button.parentElement.querySelectorAll(".relay-row");
    const show = () => { button.hidden = rows().length >= Number(button.dataset.relayAddRow); };
    button.addEventListener("click", () => {
      const last = rows()[rows().length - 1];
      const row = last.cloneNode(true);
      row.querySelectorAll("[name]").forEach((field) => {
        field.name = field.name.replace(/-(\d+)-(\w+)$/, (_, index, name) => `-${Number(index) + 1}-${name}`);
        if (field.type === "checkbox") field.checked = false;
        else if (field.tagName === "SELECT") field.selectedIndex = 0;
        else field.value = "";
      });
      last.after(row);
      row.querySelector("input, select").focus();
      show();
    });
    show();
  });
});
// select2 gives its boxes no name where nothing is chosen: they get that of the field they stand for. It makes them when
// it likes, also for rows that are added.
const nameBoxes = () => document.querySelectorAll(".select2-selection").forEach((box) => {
  const [label] = box.closest(".select2-container").previousElementSibling?.labels ?? [];
  const shown = box.querySelector(".select2-selection__rendered");
  if (label && shown) shown.setAttribute("aria-label", label.textContent.trim().replace(/\*$/, ""));
});
document.addEventListener("DOMContentLoaded", () => {
  new MutationObserver(nameBoxes).observe(document.body, { childList: true, subtree: true });
});
