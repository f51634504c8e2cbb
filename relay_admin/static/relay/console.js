"use strict";
// The test console: sends its form, shows the answer as it comes, ends it, and finds where it was written down.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("[data-relay-console]");
  if (!form) return;
  const find = (name) => document.querySelector(`[data-relay-${name}]`);
  const [send, stop] = [form.querySelector("button[type=submit]"), find("stop")];
  const [answer, said, facts, link] = [find("answer"), find("said"), find("facts"), find("link")];
  const [heard, raw, text, headers, count] = [find("heard"), find("raw"), find("text"), find("headers"), find("count")];
  let running = null;

  const fact = (name, value) => {
    if (value === null || value === undefined || value === "") return;
    const row = document.createElement("div");
    const [term, definition] = [document.createElement("dt"), document.createElement("dd")];
    term.className = "relay-quiet";
    [term.textContent, definition.textContent] = [name, value];
    row.append(term, definition);
    facts.append(row);
  };
  const say = (tone, words) => {
    const dot = document.createElement("span");
    dot.className = `relay-dot relay-dot-${tone}`;
    said.replaceChildren(dot, ` ${words}`);
  };
  const time = (ms) => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(2)} s`);

  // What a chat says, out of the events of its stream or out of its whole document.
  const spoken = (of, rest) => {
    const whole = rest.split("\n");
    const left = whole.pop();
    for (const line of whole) {
      if (!line.startsWith("data:")) continue;
      try { of.words += JSON.parse(line.slice(5)).choices?.[0]?.delta?.content ?? ""; } catch { /* [DONE], or no JSON */ }
    }
    return left;
  };
  const saidWhole = (all) => {
    try { return JSON.parse(all).choices?.[0]?.message?.content ?? ""; } catch { return ""; }
  };

  const begin = () => {
    for (const place of [facts, link, raw, text, headers, count]) place.replaceChildren();
    form.querySelectorAll("[data-relay-problem]").forEach((each) => each.remove());
    find("text-box").hidden = true;
    answer.hidden = false;
    heard.hidden = true;
    say("warning", "Waiting for the edge …");
    send.setAttribute("aria-disabled", "true"); // and not disabled: whoever pressed Enter on it stays where they were
    stop.hidden = false;
  };
  const problemsOf = (problems) => {
    answer.hidden = true;
    for (const [name, texts] of Object.entries(problems)) {
      const field = form.querySelector(`[name="${name}"]`);
      const shown = document.createElement("p");
      shown.dataset.relayProblem = name;
      shown.className = "relay-problem";
      shown.setAttribute("role", "alert");
      shown.textContent = texts.join(" ");
      (field?.closest("[class*=relay-of-], .relay-wide") ?? form).append(shown);
    }
    form.querySelector("[data-relay-problem]")?.parentElement.querySelector("input, select, textarea")?.focus();
  };

  const follow = async (kind, id) => {
    link.textContent = "Looking for its record …";
    for (let tries = 0; tries < 40; tries += 1) {
      const asked = new URLSearchParams({ kind, request: id });
      const found = await fetch(`${form.dataset.relayConsole}?${asked}`);
      const { url } = found.ok ? await found.json() : { url: null };
      if (url) {
        const opened = document.createElement("a");
        [opened.href, opened.textContent] = [url, kind === "chat" ? "Open its trace" : "Open its request and deliveries"];
        link.replaceChildren(opened);
        return;
      }
      await new Promise((done) => setTimeout(done, 250));
      if (running) return; // another call has begun
    }
    link.textContent = "It is not in the log: calls that are refused before their caller is known are not written down.";
  };

  const watch = async (response, seen) => {
    const take = (event) => {
      if (event.kind === "head") {
        seen.id = event.headers.find(([name]) => name === "x-request-id")?.[1] ?? "";
        say(event.status < 400 ? "success" : "danger", `${event.status} ${event.reason}. ${event.said}`);
        fact("Status", String(event.status));
        fact("Head after", time(event.ms));
        fact("Request id", seen.id);
        for (const [name, value] of event.headers)
          if (name.startsWith("x-relay-") || name === "relay-durability" || name === "server-timing") fact(name, value);
        headers.textContent = event.headers.map(([name, value]) => `${name}: ${value}`).join("\n");
        heard.hidden = false;
      } else if (event.kind === "data") {
        if (seen.first === null) fact("First byte after", time((seen.first = event.ms)));
        seen.all += event.text;
        raw.append(event.text);
        raw.scrollTop = raw.scrollHeight;
        seen.left = spoken(seen, seen.left + event.text);
        if (seen.words) [text.textContent, find("text-box").hidden] = [seen.words, false];
        count.textContent = `${(seen.pieces += 1)} piece${seen.pieces === 1 ? "" : "s"}`;
      } else if (event.kind === "end") {
        const words = seen.words || saidWhole(seen.all);
        if (words) [text.textContent, find("text-box").hidden] = [words, false];
        fact("Whole after", time(event.ms));
        fact("Size", `${event.bytes.toLocaleString("en")} bytes`);
        if (event.said) say("warning", event.said);
      } else say("danger", event.text);
    };
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      lines.forEach((line) => take(JSON.parse(line)));
    }
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    const data = new FormData(form);
    const kind = data.get("kind");
    const mine = new AbortController();
    running = mine;
    begin();
    const seen = { words: "", all: "", id: "", first: null, pieces: 0, left: "" };
    try {
      const response = await fetch(form.action, { method: "POST", body: data, signal: mine.signal });
      if (response.status === 400) problemsOf((await response.json()).problems);
      else if (!response.ok) say("danger", `The control plane answered ${response.status}. Reload the page and try again.`);
      else await watch(response, seen);
    } catch (error) {
      say("warning", mine.signal.aborted ? "Stopped. The edge saw its caller leave." : "The control plane cannot be reached.");
    }
    running = null;
    send.removeAttribute("aria-disabled");
    stop.hidden = true;
    if (seen.id) follow(kind, seen.id);
  });
  stop.addEventListener("click", () => running?.abort());
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
});
