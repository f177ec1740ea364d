// What pages do beyond being read: they stay true, the graph moves, the log follows, keys work. Every page is whole
// without it. No library; nothing is loaded from elsewhere; HTML only comes from this server's own stream.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props);
  element.append(...children);
  return element;
};
const parts = window.trustedTypes?.createPolicy("homelab-parts", { createHTML: (text) => text }) ?? { createHTML: (text) => text };

// -- times --------------------------------------------------------------------------------------------------------------

function ago(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    if (Math.abs(seconds) >= size) {
      const count = Math.floor(Math.abs(seconds) / size);
      return seconds > 0 ? `${count} ${unit} ago` : `in ${count} ${unit}`;
    }
  }
  return "now";
}

function span(seconds) {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (n) => String(n).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86400)}d ${Math.floor((whole % 86400) / 3600)}h`;
}

function refreshTimes() {
  const now = Date.now();
  for (const time of $$("time[datetime]")) {
    const text = ago((now - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
  for (const element of $$("[data-since]")) {
    const text = span((now - Date.parse(element.dataset.since)) / 1000);
    if (element.textContent !== text) element.textContent = text;
  }
  for (const bar of $$("[data-usual]")) {
    const share = (now - Date.parse(bar.dataset.from)) / 1000 / Number(bar.dataset.usual);
    bar.lastElementChild.setAttribute("width", `${Math.min(100, Math.max(0, share * 100)).toFixed(1)}%`);
    bar.lastElementChild.classList.toggle("over", share > 1);
  }
}
setInterval(() => { if (!document.hidden) refreshTimes(); }, 1000);  // times and bars go on between two parts
document.addEventListener("visibilitychange", () => { if (!document.hidden) refreshTimes(); });

// -- the theme ----------------------------------------------------------------------------------------------------------

const themeSwitch = $("[data-theme-switch]");
if (themeSwitch) {
  themeSwitch.hidden = false;
  themeSwitch.addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    try { localStorage.setItem("homelab-theme", root.dataset.theme); } catch { /* only for this page then */ }
  });
}

// -- parts that change: snapshot and deltas, taken up again after every break --------------------------------------------

class LiveState extends HTMLElement {
  connectedCallback() {
    this.topic = document.body.dataset.live;
    this.after = document.body.dataset.version;
    this.wait = 1000;
    this.hidden = false;
    this.open();
    addEventListener("pagehide", () => this.source?.close());
    addEventListener("pageshow", (event) => { if (event.persisted) this.open(); });
  }

  open() {
    this.source?.close();
    this.source = new EventSource(`/live?topic=${encodeURIComponent(this.topic)}&after=${this.after}`);
    this.source.addEventListener("open", () => { this.wait = 1000; this.since = undefined; this.say("live", "Live"); });
    this.source.addEventListener("part", (event) => this.take(JSON.parse(event.data)));
    this.source.addEventListener("seen", (event) => { this.after = event.data; });
    this.source.addEventListener("error", () => this.lost());
  }

  async lost() {
    this.since ??= new Date().toTimeString().slice(0, 8);
    this.say("lost", `Connection lost at ${this.since}: what you see may be old. Trying again.`);
    if (this.source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(this.wait * 2, 30000);
    const answer = await fetch("/api/v1/lab").catch(() => null);
    if (answer?.status === 401) this.say("lost", "Signed out: run homelab open");
  }

  say(state, text) {
    this.dataset.state = state;
    this.replaceChildren(make("span", { textContent: text }));
    this.title = text;
  }

  take({ id, html }) {
    const old = document.getElementById(id);
    if (!old) return;
    const held = document.activeElement && old.contains(document.activeElement) ? describe(document.activeElement) : null;
    const chosen = $("tr[aria-selected] [data-open], tr[aria-selected] a", old)?.getAttribute("href");
    const ticked = $$("input:checked", old).map((input) => input.value);
    const [left, top] = [old.scrollLeft, old.scrollTop];
    old.outerHTML = parts.createHTML(html);
    const fresh = document.getElementById(id);
    if (!fresh) return;
    [fresh.scrollLeft, fresh.scrollTop] = [left, top];
    for (const value of ticked) $$("input[type=checkbox]", fresh).filter((i) => i.value === value).forEach((i) => { i.checked = true; });
    if (chosen) $$("tbody a", fresh).find((a) => a.getAttribute("href") === chosen)?.closest("tr")?.setAttribute("aria-selected", "true");
    if (held) find(held, fresh)?.focus({ preventScroll: true });
    fresh.dispatchEvent(new CustomEvent("part", { bubbles: true }));
    refreshTimes();
  }
}
const describe = (element) => ({ id: element.id, href: element.getAttribute("href"), value: element.value });
const find = (held, root) => (held.id && (root.id === held.id ? root : root.querySelector(`#${CSS.escape(held.id)}`)))
  || $$("a, button, input", root).find((e) => (held.href ? e.getAttribute("href") === held.href : e.value === held.value));
customElements.define("live-state", LiveState);

// -- keys: / finds, j k Enter x move in a table ---------------------------------------------------------------------------

const GO = { n: "/", j: "/jobs", g: "/graph", r: "/runs", m: "/nodes", l: "/lab" };
let leader = 0;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur?.();
    return;
  }
  if (event.key === "/") { event.preventDefault(); $("[data-key='/']")?.focus(); return; }
  if (event.key === "g" && !event.shiftKey && Date.now() - leader > 1000) { leader = Date.now(); return; }
  if (Date.now() - leader < 1000 && GO[event.key]) { leader = 0; location.href = GO[event.key]; return; }
  const table = $("table[data-keys]");
  if (!table) return;
  const rows = $$("tbody tr", table).filter((row) => row.querySelector("a"));
  const at = rows.findIndex((row) => row.hasAttribute("aria-selected"));
  if (event.key === "j" || event.key === "k") {
    const next = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + (event.key === "j" ? 1 : -1)))];
    if (!next) return;
    rows[at]?.removeAttribute("aria-selected");
    next.setAttribute("aria-selected", "true");
    next.scrollIntoView({ block: "nearest" });
  } else if (event.key === "Enter" && at >= 0 && document.activeElement?.tagName !== "A") {
    location.href = (rows[at].querySelector("[data-open]") ?? rows[at].querySelector("a")).href;
  } else if (event.key === "x" && at >= 0) {
    const box = rows[at].querySelector("input[type=checkbox]");
    if (box) box.checked = !box.checked;
  }
});

// -- forms: what was typed survives an expired session; a double click sends once -----------------------------------------

for (const form of $$("form[data-keep]")) {
  const key = `homelab-form ${document.body.dataset.who} ${form.action}`; // of whoever typed it, and of nobody else
  const fields = () => $$("input:not([type=hidden]), textarea, select", form);
  try {
    const kept = JSON.parse(sessionStorage.getItem(key) ?? "null");
    if (kept) fields().forEach((field, n) => { if (kept[n] !== undefined && !field.value) field.value = kept[n]; });
    form.addEventListener("input", () => sessionStorage.setItem(key, JSON.stringify(fields().map((f) => f.value))));
    if (document.title && $(".notice.good", document)) sessionStorage.removeItem(key);
  } catch { /* no storage: nothing is kept */ }
}
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "1";
  setTimeout(() => delete form.dataset.sent, 5000);
});

// -- the graph: drag, zoom, find, what hangs on what ----------------------------------------------------------------------

class JobGraph extends HTMLElement {
  connectedCallback() {
    if (!("small" in this.dataset)) this.dataset.active = "";
    this.fingers = new Map();
    this.says = make("p", { className: "graph-says" }, make("span", { role: "status" }));
    this.search = make("input", { type: "search", placeholder: "Find in graph", ariaLabel: "Find in graph" });
    this.search.addEventListener("input", () => { this.mark(); this.hit = -1; this.next(); });
    this.search.addEventListener("keydown", (event) => { if (event.key === "Enter") this.next(); });
    const button = (text, label, act) => {
      const made = make("button", { type: "button", className: "button small", textContent: text, ariaLabel: label, title: label });
      made.addEventListener("click", act);
      return made;
    };
    this.impact = button("Impact", "Show what a failure would stop", () => {
      this.impact.setAttribute("aria-pressed", String(this.impact.getAttribute("aria-pressed") !== "true"));
      this.light(this.last);
    });
    this.impact.setAttribute("aria-pressed", "false");
    if ("active" in this.dataset) {
      this.prepend(make("div", { className: "graph-tools" }, this.search, this.impact, button("−", "Smaller", () => this.zoom(1.25)),
        button("+", "Larger", () => this.zoom(0.8)), button("Fit", "Show all", () => this.fit())));
      this.append(this.says);
    }
    this.shape = $("#graph-states", this)?.dataset.shape;
    this.addEventListener("part", (event) => { if (event.target.id === "graph-states") { this.colour(event.target.dataset); return; } this.read(); this.mark(); if (this.last) this.light(this.nodes.get(this.last.dataset.n) ?? null); });
    for (const [over, node] of [["pointerover", true], ["focusin", true], ["pointerleave", false], ["focusout", false]])
      this.addEventListener(over, (event) => this.light(node ? event.target.closest?.(".node") ?? (event.target.querySelector?.(":scope > .node")) : null));
    this.read();
  }

  read() {
    this.box = $(".graph-box", this);
    this.svg = $("svg.graph", this);
    if (!this.svg) return;
    const { x, y, width, height } = this.svg.viewBox.baseVal;
    this.whole = { x, y, width, height };
    this.nodes = new Map($$(".node", this.svg).map((node) => [node.dataset.n, node]));
    this.up = new Map();
    this.down = new Map();
    for (const edge of $$(".edge", this.svg)) {
      const { from, to } = edge.dataset;
      (this.down.get(from) ?? this.down.set(from, []).get(from)).push([to, edge]);
      (this.up.get(to) ?? this.up.set(to, []).get(to)).push([from, edge]);
    }
    if (!("active" in this.dataset)) return;
    if (this.view) this.show(); else requestAnimationFrame(() => this.fit());  // in a task of its own: it lays all of it out
    if (this.seen === this.box) return;
    this.seen = this.box;
    this.box.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004), event);
    }, { passive: false });
    this.box.addEventListener("pointerdown", (event) => this.grab(event));
    this.box.addEventListener("click", (event) => { if (this.moved) event.preventDefault(); }, true);
    this.box.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step && event.target === this.box && this.view) { event.preventDefault(); this.move(step[0] * this.view.width / 8, step[1] * this.view.height / 8); }
      if (event.key === "+" || event.key === "=") this.zoom(0.8);
      if (event.key === "-") this.zoom(1.25);
      if (event.key === "0") this.fit();
    });
  }

  // The states of an open picture: only the boxes that changed are touched. Another graph than the one that is drawn is fetched.
  async colour({ shape, marks, states }) {
    if (shape !== this.shape) {
      const answer = await fetch(location.href);
      const fresh = answer.ok ? new DOMParser().parseFromString(parts.createHTML(await answer.text()), "text/html").getElementById("graph") : null;
      if (!fresh) return;
      this.shape = shape;
      this.box.replaceWith(document.adoptNode(fresh));
      this.view = null;
      this.read();
    }
    const looks = JSON.parse(marks);
    states.split(",").forEach((number, n) => {
      const node = this.nodes.get(String(n));
      const [tone, symbol, word] = looks[number];
      const use = node && $("use", node);
      const old = node && [...node.classList].find((name) => name.startsWith("tone-"));
      if (!use || (old === `tone-${tone}` && use.getAttribute("href") === `#s-${symbol}`)) return;
      node.classList.replace(old, `tone-${tone}`);
      use.setAttribute("href", `#s-${symbol}`);
      const says = node.dataset.around ? `${node.dataset.around}${word}: open` : `${node.dataset.name}, ${word}`;
      $("title", node).textContent = says;
      node.closest("a")?.setAttribute("aria-label", says);
    });
  }

  fit() {
    const { width, height } = this.box.getBoundingClientRect();
    const scale = Math.max(this.whole.width / Math.max(width, 1), this.whole.height / Math.max(height, 1), 0.8);
    if (scale > 2.2) this.view = { x: this.whole.x, y: this.whole.y, width: width * 1.3, height: height * 1.3 };
    else this.view = { x: this.whole.x - Math.max(0, width * scale - this.whole.width) / 2, y: this.whole.y - 8, width: width * scale, height: height * scale };
    this.show();
  }

  show() { const { x, y, width, height } = this.view; this.svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`); }
  move(dx, dy) { if (!this.view) this.fit(); this.view.x += dx; this.view.y += dy; this.show(); }

  zoom(factor, event) {
    if (!this.view) this.fit();
    const box = this.svg.getBoundingClientRect();
    const [fx, fy] = event ? [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height] : [0.5, 0.5];
    const wide = Math.max(200, Math.min(this.whole.width * 4, this.view.width * factor));
    const real = wide / this.view.width;
    this.view.x += this.view.width * (1 - real) * fx;
    this.view.y += this.view.height * (1 - real) * fy;
    this.view.width = wide;
    this.view.height *= real;
    this.show();
  }

  // One finger (or the mouse) moves, two zoom about the point between them.
  grab(down) {
    if (down.button !== 0) return;
    this.fingers.set(down.pointerId, down);
    this.held = this.hold();
    if (this.fingers.size > 1) return;
    this.moved = false;
    const move = (event) => {
      if (!this.fingers.has(event.pointerId)) return;
      this.fingers.set(event.pointerId, event);
      const was = this.held;
      const now = this.hold();
      if (!this.moved && Math.hypot(now.x - was.x, now.y - was.y) < 4 && Math.abs(now.apart - was.apart) < 4) return;
      this.moved = true;
      const scale = this.view.width / this.svg.getBoundingClientRect().width;
      this.move((was.x - now.x) * scale, (was.y - now.y) * scale);
      if (was.apart && now.apart) this.zoom(was.apart / now.apart, { clientX: now.x, clientY: now.y });
      this.held = now;
    };
    const up = (event) => {
      this.fingers.delete(event.pointerId);
      this.held = this.hold();
      if (this.fingers.size) return;
      removeEventListener("pointermove", move);
      for (const end of ["pointerup", "pointercancel"]) removeEventListener(end, up);
      setTimeout(() => { this.moved = false; });
    };
    addEventListener("pointermove", move);
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, up);
  }

  hold() {
    const all = [...this.fingers.values()];
    const middle = (of) => all.reduce((sum, finger) => sum + of(finger), 0) / Math.max(1, all.length);
    const apart = all.length > 1 ? Math.hypot(all[0].clientX - all[1].clientX, all[0].clientY - all[1].clientY) : 0;
    return { x: middle((finger) => finger.clientX), y: middle((finger) => finger.clientY), apart };
  }

  reach(start, ways) {
    const found = new Set([start]);
    const edges = [];
    const waiting = [start];
    while (waiting.length) for (const [other, edge] of ways.get(waiting.pop()) ?? []) {
      edges.push(edge);
      if (!found.has(other)) { found.add(other); waiting.push(other); }
    }
    return { found, edges };
  }

  light(node) {
    this.last = node;
    if (!this.svg) return;
    for (const lit of $$(".lit", this.svg)) lit.classList.remove("lit");
    const impact = this.impact.getAttribute("aria-pressed") === "true";
    this.svg.classList.toggle("dimmed", Boolean(node));
    this.svg.classList.toggle("impact", impact);
    if (!node) { this.say(""); return; }
    const down = this.reach(node.dataset.n, this.down);
    const up = impact ? { found: new Set(), edges: [] } : this.reach(node.dataset.n, this.up);
    for (const n of [...down.found, ...up.found]) this.nodes.get(n)?.classList.add("lit");
    for (const edge of [...down.edges, ...up.edges]) edge.classList.add("lit");
    const count = down.found.size - 1;
    this.say(count ? `If ${node.dataset.name} fails, ${count} ${count === 1 ? "job" : "jobs"} cannot run.` : `Nothing waits for ${node.dataset.name}.`);
  }

  say(text) { this.says.firstChild.textContent = text; }

  mark() {
    const text = this.search.value.trim().toLowerCase();
    if (text === "" && !this.hits?.length) return;
    this.hits = [];
    for (const node of this.nodes.values()) {
      const hit = text !== "" && node.dataset.name.toLowerCase().includes(text);
      node.classList.toggle("hit", hit);
      if (hit) this.hits.push(node);
    }
    this.say(text === "" ? "" : `${this.hits.length} found`);
  }

  next() {
    if (!this.hits?.length || !this.view) return;
    this.hit = (this.hit + 1) % this.hits.length;
    const box = this.hits[this.hit].transform.baseVal.consolidate().matrix;
    this.view.x = box.e + 60 - this.view.width / 2;
    this.view.y = box.f + 14 - this.view.height / 2;
    this.show();
  }
}
customElements.define("job-graph", JobGraph);

// -- the log: follows, goes back and forth in pieces, finds, folds --------------------------------------------------------

const KEPT = 4000;

class LogView extends HTMLElement {
  connectedCallback() {
    this.list = $(".log", this);
    const { start, end, size } = this.dataset;
    Object.assign(this, { start: Number(start), end: Number(end), size: Number(size), busy: false, attempt: Number(this.dataset.attempt) });
    this.follows = "open" in this.dataset;
    this.tools();
    this.list.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.list.scrollTop = this.list.scrollHeight;
    if ("open" in this.dataset) this.poll();
  }

  tools() {
    const toggle = (text, on, act) => {
      const made = make("button", { type: "button", className: "button small", textContent: text });
      made.setAttribute("aria-pressed", String(on));
      made.addEventListener("click", () => { const now = made.getAttribute("aria-pressed") !== "true"; made.setAttribute("aria-pressed", String(now)); act(now); });
      return made;
    };
    const button = (text, act) => { const made = make("button", { type: "button", className: "button small", textContent: text }); made.addEventListener("click", act); return made; };
    this.query = make("input", { type: "search", placeholder: "Find in log", ariaLabel: "Find in log", maxLength: 200 });
    this.query.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); this.find(event.shiftKey); } });
    this.status = make("span", { className: "soft small", role: "status" });
    this.followButton = toggle("Follow", this.follows, (on) => { this.follows = on; if (on) this.toEnd(); });
    const tools = [this.query, button("Find next", () => this.find(false)), button("Start", () => this.jump(0)), button("End", () => this.toEnd()),
      toggle("Fold repeats", false, (on) => { this.folds = on; this.fold(); }), toggle("Wrap", true, (on) => this.classList.toggle("no-wrap", !on))];
    if ("open" in this.dataset) tools.push(this.followButton);
    $(".tools-slot", this).append(...tools, this.status);
  }

  async ask(path, query) {
    const { run, job, pinned } = this.dataset;
    const attempt = pinned || (path === "find" ? this.attempt : 0);
    const answer = await fetch(`/api/v1/runs/${encodeURIComponent(run)}/${path}?${new URLSearchParams({ job, attempt, ...query })}`);
    if (answer.status === 404 && this.attempt === 0) return { lines: [], start: 0, end: 0, size: 0, attempt: 0 };  // not begun
    if (!answer.ok) throw new Error(answer.status === 401 ? "signed out" : `the lab answered ${answer.status}`);
    return answer.json();
  }

  line({ at, time, stream, pieces, cut }) {
    const text = make("span", { className: cut ? "text cut" : "text" });
    for (const [words, names] of pieces) text.append(names ? make("span", { className: names, textContent: words }) : words);
    const item = make("li", { className: stream }, make("time", { textContent: new Date(time * 1000).toISOString().slice(11, 19) }), text);
    item.dataset.at = at;
    return item;
  }

  // One request at a time; what is shown stays a window of at most KEPT lines.
  async turn(act) {
    if (this.busy) return;
    this.busy = true;
    try { await act(); this.status.textContent = ""; } catch (error) { this.status.textContent = `Not loaded: ${error.message}`; }
    this.busy = false;
  }

  earlier() {
    return this.turn(async () => {
      const { lines, start } = await this.ask("lines", { from: this.start, lines: 500, back: 1 });
      const before = this.list.scrollHeight - this.list.scrollTop;
      this.list.prepend(...lines.map((line) => this.line(line)));
      this.start = start;
      while (this.list.childElementCount > KEPT) this.list.lastElementChild.remove(), this.cutEnd = true;
      if (this.cutEnd) { this.end = Number(this.list.lastElementChild.dataset.at); this.list.lastElementChild.remove(); this.cutEnd = false; this.isAway = true; }
      this.fold();
      this.list.scrollTop = this.list.scrollHeight - before;
    });
  }

  later() {
    return this.turn(async () => {
      let { lines, end, size, attempt } = await this.ask("lines", { from: this.end, lines: 500 });
      if (attempt !== this.attempt) {  // it was tried again: the new log from its beginning
        if (this.attempt) this.list.append(make("li", { className: "lab" }, make("time"), make("span", { className: "text", textContent: `attempt ${attempt}` })));
        ({ lines, end, size } = await this.ask("lines", { from: 0, lines: 500 }));
        Object.assign(this, { attempt, start: 0 });
      }
      Object.assign(this, { end, size });
      if (end >= size) this.isAway = false;
      if (!lines.length) return;
      this.list.append(...lines.map((line) => this.line(line)));
      const gone = this.list.childElementCount - KEPT;
      if (gone > 0) {
        let height = 0;
        for (let n = 0; n < gone; n++) { height += this.list.firstElementChild.offsetHeight; this.list.firstElementChild.remove(); }
        this.start = Number($("[data-at]", this.list).dataset.at);
        this.list.scrollTop -= height;
      }
      this.fold();
      if (this.follows) this.list.scrollTop = this.list.scrollHeight;
    });
  }

  async jump(from, mark = false) {
    await this.turn(async () => {
      const { lines, start, end, size } = await this.ask("lines", { from, lines: 500 });
      this.list.replaceChildren(...lines.map((line) => this.line(line)));
      Object.assign(this, { start, end, size, isAway: end < size });
      this.fold();
      this.list.scrollTop = 0;
      if (mark) this.list.firstElementChild?.classList.add("found");
    });
    if (mark && from > 0) await this.earlier();
    $(".found", this.list)?.scrollIntoView({ block: "center" });
  }

  toEnd() {
    return this.turn(async () => {
      const { lines, start, end, size } = await this.ask("lines", { lines: 500, back: 1 });
      this.list.replaceChildren(...lines.map((line) => this.line(line)));
      Object.assign(this, { start, end, size, isAway: false });
      this.fold();
      this.list.scrollTop = this.list.scrollHeight;
    });
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    const atEnd = scrollTop + clientHeight > scrollHeight - 40;
    if ("open" in this.dataset && this.follows !== (atEnd && !this.isAway)) {
      this.follows = atEnd && !this.isAway;
      this.followButton.setAttribute("aria-pressed", String(this.follows));
    }
    if (scrollTop < 200 && this.start > 0) this.earlier();
    else if (atEnd && this.isAway) this.later();
  }

  async poll() {
    for (;;) {
      await new Promise((wake) => setTimeout(wake, document.hidden ? 5000 : 700));
      if (!this.isConnected) return;
      if (this.isAway) continue;
      await this.later();
      const open = $(".head .tone-run, .head .tone-idle, .head .tone-warn");
      if (!open && this.end >= this.size) { this.follows = false; return; }
    }
  }

  async find(back) {
    const text = this.query.value;
    if (!text) return;
    const at = Number($(".found", this.list)?.dataset.at ?? (back ? Number.MAX_SAFE_INTEGER : -1));
    let from = back ? at : at < 0 ? this.found === text ? 0 : Number($("[data-at]", this.list)?.dataset.at ?? 0) : at + 1;
    this.found = text;
    for (let round = 0; round < 60; round++) {
      this.status.textContent = `Looking … ${Math.round((from / Math.max(1, this.size)) * 100)} %`;
      let answer;
      try { answer = await this.ask("find", { text, from, ...(back ? { back: 1 } : {}) }); } catch (error) { this.status.textContent = error.message; return; }
      if (answer.at !== null) {
        $(".found", this.list)?.classList.remove("found");
        const shown = $(`[data-at="${answer.at}"]`, this.list);
        if (shown) { shown.classList.add("found"); shown.classList.remove("folded"); shown.scrollIntoView({ block: "center" }); } else await this.jump(answer.at, true);
        this.status.textContent = "";
        return;
      }
      if (answer.is_over) break;
      from = answer.scanned;
    }
    this.status.textContent = at >= 0 ? "No more; the next search begins at the start" : from > 0 && !back ? "Not after this place; once more to search from the start" : "Not found";
    $(".found", this.list)?.classList.remove("found");
  }

  fold() {
    for (const mark of $$(".times", this.list)) mark.remove();
    let first = null, count = 1;
    const close = () => { if (first && count > 1) first.lastElementChild.append(make("span", { className: "times", textContent: `× ${count}` })); };
    for (const item of this.list.children) {
      item.classList.remove("folded");
      if (!this.folds) continue;
      if (first && first.className === item.className && first.lastElementChild.textContent === item.lastElementChild.textContent) { item.classList.add("folded"); count += 1; continue; }
      close();
      [first, count] = [item, 1];
    }
    if (this.folds) close();
  }
}
customElements.define("log-view", LogView);
