// The page: a stream of numbers in, text and plots out. Whatever comes from the program is put in as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const TOKEN = document.querySelector("meta[name=cache-token]").content;
const READ_ONLY = document.querySelector("meta[name=cache-read-only]").content === "yes";
// Mounted at /cache, the page is at /cache as well as at /cache/.
const BASE = location.pathname.replace(/\/*$/, "/");
const SLOTS = 121;
const RECENT_MS = 5000;
const MINUTE_MS = 60000;

function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// What did not change is not touched: selections stay, and screen readers keep their place.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// ---- What was seen so far

// After a gap the numbers before it say nothing of now.
const seen = { now: null, past: [], gap: false, broken: false };

function calls(counts) {
  return counts.hits + counts.misses;
}

// The oldest numbers that are not older than `ms`.
function since(ms) {
  return seen.past.find((one) => seen.now.at - one.at <= ms) || seen.now;
}

// How much `pick` grew per second since `then`.
function rate(then, pick) {
  const seconds = (seen.now.at - then.at) / 1000;
  return seconds > 0 ? Math.max(0, pick(seen.now) - pick(then)) / seconds : 0;
}

function ofPath(path, pick) {
  return (numbers) => (numbers.rows.has(path) ? pick(numbers.rows.get(path)) : 0);
}

function hitRate(now, then) {
  const all = calls(now) - (then ? calls(then) : 0);
  return all > 0 ? (now.hits - (then ? then.hits : 0)) / all : null;
}

function remember(numbers) {
  numbers.rows = new Map(numbers.functions.map((row) => [row.path, row]));
  const before = seen.now;
  const same = before && before.instance === numbers.instance;
  if (before && !same) seen.broken = true;
  const follows = same && !seen.gap && numbers.at > before.at;
  if (!follows) seen.past = [];
  seen.gap = false;
  seen.now = numbers;
  seen.past.push(numbers);
  while (numbers.at - seen.past[0].at > MINUTE_MS) seen.past.shift();
  return follows ? before : null;
}

// ---- The plot and the tiles

const SERIES = [
  { name: "From the cache", class: "k-hit", pick: (t) => t.hits - t.stale },
  { name: "Past its ttl", class: "k-stale", pick: (t) => t.stale },
  { name: "Shared a load", class: "k-shared", pick: (t) => t.coalesced },
  { name: "Loaded", class: "k-load", pick: (t) => Math.max(0, t.misses - t.coalesced) },
];

const chart = new Stack($("chart"), SERIES, SLOTS, perSecond);
chart.picture.setAttribute("aria-label", "Calls a second over the last two minutes");
for (const one of SERIES) {
  one.value = make("b", { textContent: "–" });
  $("legend").append(make("li", { className: one.class }, one.name, one.value));
}

const TILES = [
  {
    title: "Hit rate", top: 1, pick: (step) => hitRate(seen.now.totals, step.totals),
    value: () => percent(hitRate(seen.now.totals, since(MINUTE_MS).totals) ?? hitRate(seen.now.totals)).split(" "),
    note: () => `since start ${percent(hitRate(seen.now.totals))}`,
  },
  {
    title: "Calls", pick: (step) => rate(step, (n) => calls(n.totals)),
    value: () => [perSecond(rate(since(RECENT_MS), (n) => calls(n.totals))), "a second"],
    note: () => `${count(calls(seen.now.totals))} since start`,
  },
  {
    title: "Loads", class: "k-load", pick: (step) => rate(step, (n) => n.totals.loads),
    value: () => [perSecond(rate(since(RECENT_MS), (n) => n.totals.loads)), "a second"],
    note: () => `${count(seen.now.totals.loads)} since start, ${count(seen.now.totals.errors)} failed`,
  },
  {
    title: "Callers that shared a load", class: "k-shared", pick: (step) => rate(step, (n) => n.totals.coalesced),
    value: () => [perSecond(rate(since(RECENT_MS), (n) => n.totals.coalesced)), "a second"],
    note: () => `${count(seen.now.totals.coalesced)} since start`,
  },
  {
    title: "Source time saved", pick: (step) => rate(step, (n) => n.totals.saved_ns),
    value: () => [...time(rate(since(RECENT_MS), (n) => n.totals.saved_ns)).split(" "), "each second"],
    note: () => `${time(seen.now.totals.saved_ns)} since start, about`,
  },
  {
    title: "In memory", pick: () => seen.now.totals.bytes,
    value: () => bytes(seen.now.totals.bytes).split(" "),
    note: () => {
      const { max_items, max_bytes } = seen.now.cache;
      const room = max_bytes ? `${bytes(max_bytes)} fit` : `${count(max_items)} fit`;
      return `${count(seen.now.totals.entries)} entries, ${room}`;
    },
  },
];

for (const tile of TILES) {
  tile.history = [];
  tile.spark = new Spark(61);
  tile.big = make("dd", { className: "value", textContent: "–" });
  tile.small = make("dd", { className: "note" });
  $("tiles").append(make("div", { className: tile.class || "k-hit" }, make("dt", { textContent: tile.title }), tile.big, tile.small, tile.spark.element));
}

function drawTraffic(step) {
  if (step) {
    chart.push(SERIES.map((one) => rate(step, (n) => one.pick(n.totals))));
    chart.picture.setAttribute("aria-label", `Calls a second over the last two minutes, at most ${perSecond(chart.highest)}. The numbers of now are in the list before it.`);
  }
  for (const one of SERIES) say(one.value, perSecond(rate(since(RECENT_MS), (n) => one.pick(n.totals))));
  for (const tile of TILES) {
    if (step) {
      tile.history.push(tile.pick(step) ?? tile.history.at(-1) ?? 0);
      if (tile.history.length > 61) tile.history.shift();
      tile.spark.draw(tile.history, tile.top);
    }
    const [value, ...unit] = tile.value();
    if (tile.shown === `${value} ${unit}`) continue;
    tile.shown = `${value} ${unit}`;
    tile.big.replaceChildren(value, make("small", { textContent: unit.join(" ") }));
  }
  for (const tile of TILES) say(tile.small, tile.note());
}

// ---- The table of functions

const pair = (latency) => (latency.count ? [time(latency.p50_ns), time(latency.p99_ns)] : null);

// `sort` is what rows are ordered by; `show` fills the cell.
const COLUMNS = [
  { title: "Function", key: "path", sort: (row) => row.path, show: null },
  {
    title: "Hit rate", hint: "of the last minute, else since start", num: true,
    sort: (row) => recentHitRate(row) ?? -1,
    show: (cell, row) => {
      const part = recentHitRate(row);
      say(cell.text, percent(part));
      cell.bar.style.setProperty("--part", `${(part || 0) * 100}%`);
    },
    build: (td, cell) => {
      cell.text = make("span");
      cell.bar = make("i");
      td.append(make("span", { className: "rate" }, cell.text, cell.bar));
    },
  },
  {
    title: "Calls / s", num: true, sort: (row) => rate(since(RECENT_MS), ofPath(row.path, calls)),
    show: (cell, row) => {
      say(cell.text, perSecond(rate(since(RECENT_MS), ofPath(row.path, calls))));
      cell.spark.draw(cell.history);
    },
    build: (td, cell) => {
      cell.history = [];
      cell.text = make("span");
      cell.spark = new Spark(60);
      td.append(make("span", { className: "flow" }, cell.spark.element, cell.text));
    },
  },
  { title: "Loads / s", num: true, sort: (row) => rate(since(RECENT_MS), ofPath(row.path, (r) => r.loads)), text: (row) => perSecond(rate(since(RECENT_MS), ofPath(row.path, (r) => r.loads))) },
  { title: "Shared", hint: "callers that shared another caller's load", num: true, sort: (row) => row.coalesced, text: (row) => count(row.coalesced) },
  { title: "Saved", hint: "how much longer the source would have worked, about", num: true, sort: (row) => row.saved_ns, text: (row) => (row.saved_ns ? time(row.saved_ns) : "0") },
  { title: "Hit p50 · p99", num: true, sort: (row) => row.hit.p99_ns, show: (cell, row) => times(cell, row.hit) },
  { title: "Load p50 · p99", num: true, sort: (row) => row.load.p99_ns, show: (cell, row) => times(cell, row.load) },
  { title: "Failed", hint: "loads that returned an error", num: true, mood: "caution", sort: (row) => row.errors, text: (row) => count(row.errors) },
  { title: "Stale", hint: "answers past their ttl", num: true, sort: (row) => row.stale, text: (row) => count(row.stale) },
  { title: "Degraded", hint: "calls that went without the cache", num: true, mood: "alarm", sort: (row) => row.degraded, text: (row) => count(row.degraded) },
  { title: "Entries", hint: "in the memory of this process", num: true, sort: (row) => row.entries ?? -1, text: (row) => (row.entries === null ? "–" : count(row.entries)) },
  { title: "Size", hint: "in the memory of this process", num: true, sort: (row) => row.bytes ?? -1, text: (row) => (row.bytes === null ? "–" : bytes(row.bytes)) },
];

function recentHitRate(row) {
  const then = since(MINUTE_MS).rows.get(row.path);
  return (then && hitRate(row, then)) ?? hitRate(row);
}

function times(cell, latency) {
  const known = pair(latency);
  const text = known ? known.join(" · ") : "–";
  if (cell.was === text) return;
  cell.was = text;
  cell.td.replaceChildren(...(known ? [known[0], make("span", { className: "of", textContent: ` · ${known[1]}` })] : ["–"]));
}

const table = { rows: new Map(), order: 2, down: true };

COLUMNS.forEach((column, index) => {
  const button = make("button", { type: "button", textContent: column.title, title: column.hint || "" });
  button.addEventListener("click", () => sortBy(index, table.order === index ? !table.down : column.num));
  column.th = make("th", { className: column.num ? "num" : "", scope: "col" }, button);
  column.th.setAttribute("role", "columnheader");
  $("columns").append(column.th);
  $("order").append(make("option", { value: String(index), textContent: column.title }));
});
if (!READ_ONLY) {
  const last = make("th", { scope: "col" }, make("span", { className: "hidden", textContent: "Action" }));
  last.setAttribute("role", "columnheader");
  $("columns").append(last);
}
$("order").addEventListener("change", () => sortBy(Number($("order").value), Number($("order").value) !== 0));
$("filter").addEventListener("input", () => arrange());

function sortBy(index, down) {
  Object.assign(table, { order: index, down });
  arrange();
}

function buildRow(row) {
  const tr = make("tr");
  tr.setAttribute("role", "row");
  const cells = COLUMNS.map((column, index) => {
    const td = make("td", { className: index ? "num" : "fn" });
    td.setAttribute("role", "cell");
    td.dataset.label = column.title;
    const cell = { td };
    if (column.build) column.build(td, cell);
    tr.append(td);
    return cell;
  });
  const module = row.path.slice(0, Math.max(0, row.path.lastIndexOf("::")));
  cells[0].td.append(make("b", { textContent: row.name }), make("span", { textContent: row.kind === "direct" ? "get, set, get_or_load, …" : module }));
  if (!READ_ONLY) {
    const td = make("td", { className: "act num" });
    td.setAttribute("role", "cell");
    if (row.kind !== "direct") {
      const button = make("button", { type: "button", className: "quiet", textContent: "Clear…" });
      button.setAttribute("aria-label", `Clear all entries of ${row.name}`);
      button.addEventListener("click", () => clear(row.path));
      td.append(button);
    }
    tr.append(td);
  }
  return { tr, cells };
}

function drawFunctions(step) {
  let fresh = false;
  for (const row of seen.now.functions) {
    if (!table.rows.has(row.path)) {
      table.rows.set(row.path, buildRow(row));
      fresh = true;
    }
    const { cells } = table.rows.get(row.path);
    COLUMNS.forEach((column, index) => {
      const cell = cells[index];
      if (cell.history && step) {
        cell.history.push(rate(step, ofPath(row.path, calls)));
        if (cell.history.length > 60) cell.history.shift();
      }
      if (column.show) column.show(cell, row);
      else if (column.text) {
        const text = column.text(row);
        say(cell.td, text);
        cell.td.className = `num ${text === "0" ? "zero" : column.mood || ""}`;
      }
    });
  }
  // Rows keep their places while somebody reads: they move when they are sorted, and when a function comes.
  if (fresh || seen.past.length === 3) arrange();
}

function arrange() {
  if (!seen.now) return;
  const wanted = $("filter").value.trim().toLowerCase();
  const { sort } = COLUMNS[table.order];
  const compare = (a, b) => {
    const [x, y] = [sort(a), sort(b)];
    const by = typeof x === "string" ? x.localeCompare(y) : x - y;
    return (table.down ? -by : by) || a.path.localeCompare(b.path);
  };
  const rows = [...seen.now.functions].sort(compare);
  const shown = rows.filter((row) => row.path.toLowerCase().includes(wanted));
  const wantedRows = shown.map((row) => table.rows.get(row.path)?.tr).filter(Boolean);
  const there = [...$("rows").children];
  if (there.length !== wantedRows.length || there.some((tr, i) => tr !== wantedRows[i])) {
    const focused = document.activeElement;
    $("rows").replaceChildren(...wantedRows);
    if (focused && focused.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
  }
  COLUMNS.forEach((column, index) => {
    if (index === table.order) column.th.setAttribute("aria-sort", table.down ? "descending" : "ascending");
    else column.th.removeAttribute("aria-sort");
  });
  $("order").value = String(table.order);
  say($("functions-count"), shown.length === rows.length ? `${rows.length} in use` : `${shown.length} of ${rows.length}`);
  $("nothing").hidden = shown.length > 0;
  say($("nothing"), rows.length ? "No function has that in its name." : "No annotated function has used this cache yet.");
}

// ---- Health, and what needs attention

const healthRows = new Map();

function health(title, text, detail, mood) {
  if (!healthRows.has(title)) {
    const row = { main: make("span"), detail: make("small") };
    $("health").append(make("div", {}, make("dt", { textContent: title }), make("dd", {}, row.main, row.detail)));
    healthRows.set(title, row);
  }
  const row = healthRows.get(title);
  row.main.className = mood ? "mood" : "";
  row.main.dataset.mood = mood || "";
  say(row.main, text);
  say(row.detail, detail || "");
}

function nonZero(counts) {
  return Object.entries(counts).filter(([, n]) => n > 0).map(([name, n]) => `${name.replace("_", " ")} ${count(n)}`).join(", ");
}

const BREAKER = { closed: "closed: in use", half_open: "half open: being tried", open: "open: not asked" };

function drawHealth() {
  const { backend, cache, totals } = seen.now;
  if (backend.up === null) {
    health("Backend", "memory of this process", `engine ${cache.engine}`, "good");
  } else {
    const { server } = backend;
    const described = server ? `${server.mode} ${server.version}, ${server.shards} ${server.shards === 1 ? "server" : "servers"}, ${count(server.keys)} keys, ${bytes(server.used_memory)}, evicts by ${server.eviction_policy}` : "";
    health("Backend", backend.up ? "answers" : "does not answer", backend.up ? described : backend.reason, backend.up ? "good" : "bad");
    const worst = ["open", "half_open", "closed"].find((state) => backend.servers.some((one) => one.breaker === state));
    if (worst) {
      const odd = backend.servers.filter((one) => one.breaker !== "closed").map((one) => `${one.name}: ${one.error || BREAKER[one.breaker]}`);
      health("Breaker", BREAKER[worst], odd.join("; ") || backend.servers.map((one) => one.name).join(", "), { open: "bad", half_open: "warn", closed: "good" }[worst]);
    }
    health("Undelivered invalidations", count(totals.undelivered), `${count(totals.undelivered_total)} were late since start`, totals.undelivered ? "bad" : "good");
  }
  if (totals.copies_served !== null) {
    const left = totals.copies_lease_ms === null ? "" : `lease ends in ${whole.format(totals.copies_lease_ms)} ms`;
    health("Copies in memory (L1)", totals.copies_served ? "served" : "not served", left, totals.copies_served ? "good" : "warn");
  }
  health("Degraded answers", count(totals.degraded), nonZero(totals.degraded_by), totals.degraded ? "warn" : "good");
  health("Invalidations", count(totals.invalidations), `${count(totals.recached)} recached, ${count(totals.recache_failures)} recaches failed`);
  health("Left memory", count(totals.evicted.full + totals.evicted.expired + totals.evicted.invalidated), `full ${count(totals.evicted.full)}, expired ${count(totals.evicted.expired)}, invalidated ${count(totals.evicted.invalidated)}`);
  health("Not stored", count(totals.refused + totals.unstored), `${count(totals.refused)} invalidated while they loaded, ${count(totals.unstored)} as asked`);
  if (backend.up !== null) {
    health("Leases", `${count(totals.lost_leases)} lost`, `${count(totals.takeovers)} loads taken over`);
    health("Unusable entries", count(totals.rejected), "bytes of another version, damaged, or not ours");
  }
  health("At work now", `${count(totals.flights)} ${totals.flights === 1 ? "load" : "loads"}`, `${count(totals.background)} background tasks`);
  health("Monitor", totals.checked ? `${count(totals.disagreed)} of ${count(totals.checked)} differ` : "nothing checked", "answers compared with the source", totals.disagreed ? "warn" : "");
}

let problems = 0;
let alertsShown = "";

function drawAlerts() {
  const { backend, cache, closed, totals } = seen.now;
  const all = [];
  const add = (level, title, text, link) => all.push({ level, title, text, link });
  if (closed) add("bad", "The cache was closed.", "Annotated functions call their source.");
  if (!cache.enabled) add("warn", "The cache is switched off.", "Every call goes to its source.");
  if (!cache.stats) add("warn", "Statistics are switched off.", "Hits, misses and loads are not counted: set CACHE_STATS=true to see them.");
  if (backend.up === false) add("bad", "The backend does not answer.", backend.reason || "");
  for (const one of backend.servers) if (one.breaker === "open") add("bad", `${one.name} is away.`, one.error || "It is tried again in the background.");
  if (totals.undelivered) add("bad", "Invalidations wait to be delivered.", "Until they are, this process does not read from the backend, and other processes may read what is old.");
  if (totals.copies_served === false) add("warn", "Copies in memory are not served.", "A server is away, or does not say what changes: reads go to the backend.");
  if (seen.broken) add("warn", "Another process answers now.", "It was restarted, or several take turns behind one address. Reload the page to change something.");
  if (problems) add("warn", problems === 1 ? "The catalogue has a problem." : `The catalogue has ${problems} problems.`, "", ["#catalogue", "See what is wrong"]);
  const key = JSON.stringify(all);
  if (key === alertsShown) return;
  alertsShown = key;
  $("alerts").replaceChildren(...all.map((one) => {
    const item = make("li", {}, make("span", {}, make("strong", { textContent: one.title }), ` ${one.text}`));
    item.dataset.level = one.level;
    if (one.link) item.firstChild.append(make("a", { href: one.link[0], textContent: one.link[1] }));
    return item;
  }));
}

function drawFacts() {
  const { cache, backend, uptime_ms } = seen.now;
  const facts = [cache.prefix, backend.server ? `${cache.backend}, ${backend.server.mode} ${backend.server.version}` : cache.backend, `up ${time(uptime_ms * 1e6)}`];
  if (cache.isolated) facts.splice(2, 0, "tenants isolated");
  while ($("facts").children.length < facts.length) $("facts").append(make("li"));
  facts.forEach((fact, i) => say($("facts").children[i], fact));
  if (cache.isolated) {
    say($("tenant-optional"), "required");
    if ($("tenant-help").textContent.startsWith("Entries")) say($("tenant-help"), "Tenants are isolated: every entry belongs to one.");
  }
}

// ---- The stream

const stream = { source: null, timer: null, paused: false };

function show(state, text) {
  $("state").dataset.state = state;
  say($("state-text"), text);
}

function draw(numbers) {
  const step = remember(numbers);
  drawFacts();
  drawTraffic(step);
  drawFunctions(step);
  drawHealth();
  drawAlerts();
}

function listen() {
  if (stream.source || stream.paused || document.hidden) return;
  stream.source = new EventSource(`${BASE}events`);
  stream.source.addEventListener("numbers", (event) => {
    show("live", "Live");
    clearTimeout(stream.timer);
    // The server ends a stream now and then, and the browser asks again: that alone is no loss.
    stream.timer = setTimeout(() => show("lost", "No answer"), 6000);
    draw(JSON.parse(event.data));
  });
  stream.source.addEventListener("error", () => {
    // After a refusal the browser does not try again.
    if (stream.source && stream.source.readyState === EventSource.CLOSED) {
      show("lost", "No answer");
      rest();
      stream.timer = setTimeout(listen, 5000);
    }
  });
}

// The last numbers stay on the screen.
function rest() {
  if (!stream.source) return;
  stream.source.close();
  stream.source = null;
  clearTimeout(stream.timer);
  chart.push(null);
  seen.gap = true;
}

$("pause").addEventListener("click", () => {
  stream.paused = !stream.paused;
  $("pause").setAttribute("aria-pressed", String(stream.paused));
  if (stream.paused) {
    rest();
    show("paused", "Paused");
  } else {
    show("wait", "Connecting");
    listen();
  }
});

// Nobody looks at a hidden page.
document.addEventListener("visibilitychange", () => {
  if (stream.paused) return;
  if (document.hidden) rest();
  else listen();
});

// ---- The catalogue

async function drawCatalogue() {
  const response = await fetch(`${BASE}catalogue`);
  if (!response.ok) return;
  const { functions, problems: found } = await response.json();
  problems = found.length;
  const plural = (n, one, many) => `${n} ${n === 1 ? one : many}`;
  say($("catalogue-count"), `${plural(functions.length, "annotated function", "annotated functions")}, ${found.length ? plural(found.length, "problem", "problems") : "no problems"}`);
  const NAMES = { TagNobodyCarries: "A tag that nobody carries", TypesDiffer: "One key, two types", KeysOverlap: "Keys that overlap", PutWithoutTags: "A put without tags" };
  $("problems").replaceChildren(...found.map((one) => make("li", {}, make("b", { textContent: NAMES[one.kind] || one.kind }), one.text)));
  $("catalogue-rows").replaceChildren(...functions.map((one) => {
    const tr = make("tr");
    tr.setAttribute("role", "row");
    const cell = (label, className, ...children) => {
      const td = make("td", { className }, ...children);
      td.setAttribute("role", "cell");
      td.dataset.label = label;
      tr.append(td);
    };
    cell("Function", "fn", make("b", { textContent: one.name }), make("span", { textContent: `${one.file}:${one.line}` }));
    cell("Attribute", "", one.kind);
    cell("Key", one.key ? "wide code" : "none", one.key ?? "–");
    cell("Ttl", one.ttl ? "" : "none", one.ttl ?? "–");
    const tags = [...one.tags, ...one.recaches.map((name) => `recaches ${name}`)];
    cell(one.kind === "cache_write" ? "Invalidates" : "Tags", "wide", tags.length ? make("ul", { className: "tags" }, ...tags.map((tag) => make("li", { textContent: tag }))) : one.key ? "its key" : "–");
    cell("Value", one.value ? "code" : "none", one.value ? one.value.replace(/\b\w+::/g, "") : "–");
    return tr;
  }));
  if (seen.now) drawAlerts();
}
