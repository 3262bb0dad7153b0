// Asks the host for `/overview` once a second, and shows it. What comes from the host is only ever put into the page as text.

const EVERY_MS = 1000;
const PATIENCE_MS = 5000;

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);

const state = {
  sort: query.get("sort") ?? "rate",
  filter: query.get("tenant") ?? "",
  token: sessionStorage.getItem("token") ?? "",
  /** The last answer, and when it came, by the clock of this machine. */
  answer: null,
  answeredMs: 0,
  /** The faults that were told to readers of the screen: tenant and code, with how often. */
  told: null,
  /** The tenant whose dialog is open. */
  tenant: null,
};

// Words for numbers.

const count = (n) => (n >= 1e6 ? `${(n / 1e6).toFixed(1)} M` : n >= 1e4 ? `${(n / 1e3).toFixed(1)} k` : Math.round(n).toLocaleString("en"));
const rate = (n) => (n > 0 && n < 10 ? n.toFixed(1) : count(n));
const time = (ms) => {
  if (ms === null || ms === undefined) return "–";
  return ms < 9.95 ? `${ms.toFixed(1)} ms` : age(ms);
};
const age = (ms) => {
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  if (ms < 100_000) return `${(ms / 1e3).toFixed(1)} s`;
  if (ms < 7_200_000) return `${Math.floor(ms / 60_000)} min`;
  return ms < 172_800_000 ? `${Math.floor(ms / 3_600_000)} h` : `${Math.floor(ms / 86_400_000)} d`;
};
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
const words = (label) => label.replaceAll("_", " ");
const several = (n, one) => `${count(n)} ${one}${n === 1 ? "" : "s"}`;
const bytes = (n) => (n < 10_240 ? `${n} B` : n < 10_485_760 ? `${(n / 1024).toFixed(0)} KiB` : `${(n / 1_048_576).toFixed(0)} MiB`);

// Pieces of the page.

/** An element with attributes, listeners (`onclick`) and children; what is absent (null, undefined, false) is left out. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Puts `node` in place of what `place` has, unless it is the same. */
function put(place, ...nodes) {
  const wanted = el("div", {}, ...nodes);
  if (place.innerHTML !== wanted.innerHTML) place.replaceChildren(...wanted.childNodes);
}

/** Counts by second or minute: requests as a line, faults as bars. */
function line(title, requests, faults = []) {
  const top = Math.max(1, ...requests, ...faults);
  const width = Math.max(requests.length, faults.length) - 1;
  const y = (n) => (19 - (18 * n) / top).toFixed(1);
  const picture = svg("svg", { viewBox: `0 0 ${width} 20`, preserveAspectRatio: "none", role: "img", "aria-label": title });
  if (requests.some((n) => n > 0)) {
    const path = requests.map((n, at) => `${at} ${y(n)}`).join("L");
    picture.append(svg("path", { class: "area", d: `M0 20L${path}L${width} 20Z` }), svg("path", { class: "stroke", d: `M${path}` }));
  } else {
    picture.append(svg("path", { class: "area", d: `M0 20V19H${width}V20Z` }));
  }
  for (const [at, n] of faults.entries()) {
    if (n > 0) picture.append(svg("rect", { class: "bar", x: Math.max(0, at - 0.45), width: 0.9, y: y(n), height: 20 - y(n) }));
  }
  return picture;
}

const grade = (percent) => (percent >= 100 ? "bad" : percent >= 80 ? "warn" : "");

function meter(percent) {
  const bar = el("i");
  bar.style.width = `${Math.min(100, percent)}%`;
  return el("div", { class: `meter ${grade(percent)}`, "aria-hidden": "true" }, bar);
}

const zero = (n, text = count(n)) => (n > 0 ? text : el("span", { class: "zero" }, text));
const pill = (kind, text) => el("span", { class: `pill ${kind}` }, text);
const cell = (kind, ...children) => el("td", kind ? { class: kind } : {}, ...children);

/** Shows `items` as rows that stay the same elements while their keys do, so that the focus stays where it is. */
function rows(table, items, key, cells) {
  const body = table.tBodies[0];
  const before = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  let next = body.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let row = before.get(name);
    before.delete(name);
    if (!row) row = el("tr", { "data-key": name });
    const wanted = cells(item);
    if (row.cells.length === 0) row.append(...wanted);
    else wanted.forEach((made, at) => {
      const shown = row.cells[at];
      // The one with the button keeps it.
      if (shown.outerHTML !== made.outerHTML && !shown.contains(document.activeElement)) shown.replaceWith(made);
    });
    if (row === next) next = next.nextElementSibling;
    else body.insertBefore(row, next);
  }
  before.forEach((row) => row.remove());
}

// What the answer shows.

function show({ host, lock, database, tenants, locks, faults }) {
  const states = { ready: ["good", "ready"], not_ready: ["bad", "not ready"], stopping: ["warn", "stopping"] };
  const [kind, word] = states[host.state] ?? ["", host.state];
  $("state").className = `pill ${kind}`;
  $("state").textContent = word;
  $("where").textContent = `${location.host} · version ${host.version} · up ${age(host.up_ms)}`;
  const refused = [["the lock service", lock.refused], ["the names database", database.refused]].filter(([, why]) => why);
  if (host.state === "stopping") banner("warn", "This host is stopping: it serves until balancers have seen it, and then ends.");
  else if (refused.length > 0) banner("bad", `Not ready: ${refused.map(([what, why]) => `${what}: ${why}`).join("; ")}`);
  else banner();

  $("rate").textContent = rate(host.rate);
  put($("rate-line"), line(`Requests by second: now ${rate(host.rate)} a second`, host.history.requests));
  $("p99").textContent = time(host.p99_ms);
  $("p50").textContent = host.p50_ms === null ? "no request in the last minute" : `p50 ${time(host.p50_ms)}`;
  $("faults-minute").textContent = count(host.faults);
  $("faults-tile").classList.toggle("alert", host.faults > 0);
  put($("faults-line"), line("Faults by second", [], host.history.faults));
  $("running").textContent = count(host.calls_running);
  $("running-max").textContent = `of ${count(host.calls_max)} run${host.calls_waiting > 0 ? `, ${count(host.calls_waiting)} wait` : ""}`;
  put($("calls-meter"), meter((100 * host.calls_running) / host.calls_max));
  $("held").textContent = count(locks.held);
  $("waiting").textContent = locks.waiting > 0 ? `${several(locks.waiting, "call")} wait${locks.waiting === 1 ? "s" : ""} for one` : "no call waits for one";
  $("waiting").classList.toggle("warn", locks.waiting > 0);
  $("tenants-total").textContent = count(tenants.total);
  put($("tenants-serving"), tenants.not_serving > 0
    ? el("button", { type: "button", class: "link bad", "data-order": "state" }, `${count(tenants.not_serving)} not serving`)
    : tenants.total > 0 ? "all are serving" : "");

  showTenants(tenants);
  showLocks(locks);
  showServices(lock, database);
  showFaults(faults);
}

function showTenants({ total, matching, rows: shown }) {
  $("tenants-count").textContent = shown.length < matching ? `${count(shown.length)} of ${count(matching)}` : "";
  $("tenants-empty").hidden = shown.length > 0;
  $("tenants-empty").textContent = total === 0
    ? "This host has no tenants. Put the handler of one into tenants/ID/handler.wasm, and send the host SIGHUP."
    : `None of the ${count(total)} tenants has an id that begins with “${state.filter}”.`;
  const kinds = { serving: "good", serving_previous: "warn", loading: "warn", unavailable: "bad" };
  rows($("tenants-table"), shown, (tenant) => tenant.tenant, (tenant) => {
    const nearest = tenant.near[0];
    return [
      cell("", el("span", { class: `pill ${kinds[tenant.state] ?? "bad"}` },
        el("button", { type: "button", class: "link", "data-tenant": tenant.tenant, title: words(tenant.state) }, tenant.tenant)),
      tenant.state !== "serving" && el("span", { class: "why" }, `${words(tenant.state)}${tenant.refused ? `: ${tenant.refused}` : ""}`)),
      cell("n", zero(tenant.rate, rate(tenant.rate))),
      cell("line", line(`${tenant.tenant}: requests of the last minute`, tenant.history.requests, tenant.history.faults)),
      cell(tenant.faults > 0 ? "n faults bad" : "n faults", zero(tenant.faults)),
      cell("n", time(tenant.p50_ms)),
      cell("n", time(tenant.p99_ms)),
      cell("n", zero(tenant.running + tenant.waiting, `${tenant.running} + ${tenant.waiting}`)),
      cell("n", zero(tenant.held)),
      cell("", nearest && el("div", { class: "near" }, meter(nearest.percent), el("span", { class: grade(nearest.percent) }, `${words(nearest.limit)} ${nearest.percent} %`))),
    ];
  });
}

function showLocks({ matching, rows: shown }) {
  $("locks-count").textContent = shown.length < matching ? `${count(shown.length)} of ${count(matching)}` : "";
  $("locks-empty").hidden = shown.length > 0;
  $("locks-table").hidden = shown.length === 0;
  rows($("locks-table"), shown, (lock) => lock.id, (lock) => {
    const tenant = lock.namespace || "shared";
    return [
      cell("", tenant),
      cell("mono", lock.digest),
      cell(lock.waiting > 0 ? "n waiting warn" : "n waiting", zero(lock.waiting)),
      cell("n", age(lock.age_ms)),
      cell("n", age(lock.remaining_ms)),
      cell("n", lock.fencing_token),
      cell("n", el("button", { type: "button", class: "act", "data-lease": lock.id, "aria-label": `End the lease of ${tenant} on ${lock.digest}` }, "End…")),
    ];
  });
}

function service(name, kind, word, facts, history) {
  return el("li", {}, el("div", { class: "row" }, el("b", {}, name), pill(kind, word)), el("p", { class: "quiet" }, facts), history && line(`${name}: the last minute`, history));
}

function showServices(lock, database) {
  const servers = lock.servers.map((server) => service(
    server.server,
    server.up ? "good" : "bad",
    server.up ? "connected" : "not connected",
    `memcached · ${rate(server.rate)} batches/s · p99 ${time(server.p99_ms)}${server.queued > 0 ? ` · ${count(server.queued)} queued` : ""}`,
    server.history,
  ));
  const off = database.clock_off_ms === 0 ? "" : ` · clock off by ${database.clock_off_ms} ms`;
  const ready = (refused) => (refused ? ["bad", "not ready"] : ["good", "ready"]);
  put($("services"),
    service("Lock service", ...ready(lock.refused), lock.refused ?? (lock.kind === "memory" ? "in the memory of this host" : several(lock.servers.length, "server"))),
    ...servers,
    service("Names database", ...ready(database.refused), database.refused ?? `${database.kind} · ${rate(database.rate)} waits/s · p99 ${time(database.p99_ms)}${off}`, database.history));
}

function showFaults({ codes, lately }) {
  $("codes-empty").hidden = codes.length > 0;
  $("lately-title").hidden = lately.length === 0;
  put($("codes"), ...codes.map(({ code, count: n, minutes }) => el("li", {},
    el("div", { class: "row" }, el("span", { class: "mono" }, code), el("b", {}, count(n))),
    line(`${code} by minute`, [], minutes))));
  const shownBefore = new Map([...$("lately").children].map((item) => [item.dataset.key, item.dataset]));
  put($("lately"), ...lately.slice(0, 12).map((fault) => {
    const key = `${fault.tenant ?? "nobody"} ${fault.code}`;
    const before = shownBefore.get(key);
    const shown = before?.lastMs === String(fault.last_ms) ? before.shownMs : Date.now();
    return el("li", { "data-key": key, "data-last-ms": fault.last_ms, "data-shown-ms": shown },
      el("div", { class: "row" }, el("b", {}, fault.tenant ?? "no tenant"), el("span", { class: "quiet" }, `${clock(fault.last_ms)}${fault.count > 1 ? ` · ${count(fault.count)} times` : ""}`)),
      el("p", { class: "quiet" }, el("span", { class: "mono bad" }, fault.code), ` · request ${fault.request_id}`));
  }));
  const now = new Map(lately.map((fault) => [`${fault.tenant ?? "no tenant"}: ${words(fault.code)}`, fault.count]));
  // Not each of many: a reader of the screen is told what is new, and the table has the numbers.
  const fresh = state.told ? [...now.keys()].filter((key) => !state.told.has(key)) : [];
  if (fresh.length > 0) $("announce").textContent = `New faults: ${fresh.slice(0, 5).join(", ")}`;
  state.told = now;
}

function banner(kind, text) {
  const place = $("banner");
  place.hidden = text === undefined;
  if (text !== undefined && place.textContent !== text) place.textContent = text;
  place.className = kind ?? "";
}

let toastEnds;
function toast(text) {
  $("toast").textContent = text;
  clearTimeout(toastEnds);
  toastEnds = setTimeout(() => ($("toast").textContent = ""), 6000);
}

// Asking.

async function ask(path, method = "GET") {
  const headers = state.token ? { authorization: `Bearer ${state.token}` } : {};
  const answer = await fetch(path, { method, headers, signal: AbortSignal.timeout(PATIENCE_MS) });
  if (answer.status === 401 && !$("token-dialog").open) {
    if (state.token) $("token-why").textContent = "The host does not know this token.";
    $("token-dialog").showModal();
  }
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(problem.detail ?? `the host answered ${answer.status}`), { status: answer.status });
  }
  return method === "GET" ? answer.json() : null;
}

let turn = 0;
let next;

/** Asks now, and from then on once a second. */
async function poll() {
  clearTimeout(next);
  const mine = ++turn;
  const began = performance.now();
  try {
    const asked = new URLSearchParams({ tenant: state.filter, sort: state.sort });
    const answer = await ask(`overview?${asked}`);
    if (mine !== turn) return;
    [state.answer, state.answeredMs] = [answer, Date.now()];
    document.body.dataset.state = "live";
    document.body.dataset.atMs = answer.at_ms;
    show(answer);
    if (state.tenant) showTenant(state.tenant);
  } catch (error) {
    if (mine !== turn) return;
    lost(error);
  }
  refreshAge();
  next = setTimeout(poll, Math.max(0, EVERY_MS - (performance.now() - began)));
}

function lost(error) {
  document.body.dataset.state = "lost";
  $("state").className = "pill bad";
  $("state").textContent = "no answer";
  const what = error.status ? `This host refuses to tell: ${error.message}` : "This host does not answer.";
  banner("bad", state.answer ? `${what} All figures are from ${clock(state.answeredMs)}.` : what);
}

function refreshAge() {
  const old = Date.now() - state.answeredMs;
  $("age").textContent = state.answer ? (old < 2000 ? "live" : `${age(old)} old`) : "";
}

// What a person does.

function choose(change) {
  Object.assign(state, change);
  const chosen = new URLSearchParams();
  if (state.filter) chosen.set("tenant", state.filter);
  if (state.sort !== "rate") chosen.set("sort", state.sort);
  history.replaceState(null, "", chosen.size > 0 ? `?${chosen}` : location.pathname);
  for (const head of document.querySelectorAll("th[data-sort]")) {
    if (head.dataset.sort === state.sort) head.setAttribute("aria-sort", state.sort === "tenant" ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  }
  poll();
}

function facts(...pairs) {
  return pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
}

async function showTenant(id) {
  let tenant;
  try {
    tenant = await ask(`tenants/${id}`);
  } catch (error) {
    tenant = { refused: error.message };
  }
  if (state.tenant !== id) return;
  const codes = Object.entries(tenant.calls?.codes ?? {}).sort((a, b) => b[1] - a[1]).map(([code, n]) => `${code} ${count(n)}`).join(", ");
  const near = Object.entries(tenant.nearness_percent ?? {}).sort((a, b) => b[1] - a[1]);
  put($("tenant-facts"), el("dl", {}, ...facts(
    ["State", tenant.state && words(tenant.state)],
    ["Refused", tenant.refused],
    ["Component", tenant.component && el("span", { class: "mono" }, tenant.component)],
    ["Requests by code", codes],
    ["Names", tenant.names && `${several(tenant.names.registrations, "row")}, ${bytes(tenant.names.bytes)}; ${several(tenant.names.writes, "write")}, ${age(tenant.names.database_ms)} in the database`],
    ["Running time", tenant.cpu_ms && `${age(tenant.cpu_ms.guest)} in calls, ${age(tenant.cpu_ms.host)} of the host because of it`],
    ["Most memory", tenant.memory_peak_bytes > 0 ? bytes(tenant.memory_peak_bytes) : ""],
    ["Log", tenant.log && `${bytes(tenant.log.bytes)}, ${several(tenant.log.lines_dropped, "line")} dropped`],
    ["Settings never read", tenant.unread_settings?.join(", ")],
    ["Refused or dropped", Object.entries(tenant.refusals ?? {}).map(([limit, n]) => `${words(limit)} ${count(n)}`).join(", ")],
  )), near.length > 0 && el("h3", {}, "How near it came to its limits in the last hour"),
  el("dl", {}, ...near.flatMap(([limit, percent]) => [el("dt", {}, words(limit)), el("dd", { class: "near" }, meter(percent), el("span", { class: grade(percent) }, `${percent} %`))])));
}

async function endLease(id) {
  $("end-dialog").close();
  try {
    await ask(`locks/${id}`, "DELETE");
    toast("The lease was ended: its call hears lease_lost.");
  } catch (error) {
    toast(`The lease was not ended: ${error.message}`);
  }
  poll();
}

document.addEventListener("click", ({ target }) => {
  const { tenant, lease, order } = target.dataset;
  if (order !== undefined) choose({ sort: order });
  else if (tenant !== undefined) {
    state.tenant = tenant;
    $("tenant-title").textContent = tenant;
    $("tenant-facts").replaceChildren(el("p", { class: "quiet" }, "asking…"));
    $("tenant-dialog").showModal();
    showTenant(tenant);
  } else if (lease !== undefined) {
    const lock = state.answer.locks.rows.find((row) => String(row.id) === lease);
    if (!lock) return;
    $("end-confirm").dataset.id = lease;
    put($("end-facts"), ...facts(["Tenant", lock.namespace || "shared"], ["Name, as MD5", lock.digest], ["Held for", age(lock.age_ms)], ["Calls that wait", String(lock.waiting)]));
    $("end-dialog").showModal();
  } else if (target.dataset.close !== undefined) {
    target.closest("dialog").close();
  }
});
$("end-confirm").addEventListener("click", ({ target }) => endLease(target.dataset.id));
$("tenant-dialog").addEventListener("close", () => (state.tenant = null));
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("token").value.trim();
  sessionStorage.setItem("token", state.token);
  $("token-dialog").close();
  poll();
});

for (const head of document.querySelectorAll("th[data-sort]")) {
  const button = el("button", { type: "button", onclick: () => choose({ sort: head.dataset.sort }) }, ...head.childNodes);
  head.append(button);
}
$("filter").value = state.filter;
$("filter").addEventListener("input", ({ target }) => choose({ filter: target.value.trim().toLowerCase() }));

// `/` leads to the filter; the arrows, from row to row.
document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (key === "/" && target.tagName !== "INPUT") {
    event.preventDefault();
    $("filter").focus();
  }
  const row = target.closest("tbody tr");
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[key];
  const other = row && step && row[step]?.querySelector("button");
  if (other) {
    event.preventDefault();
    other.focus();
  }
});
document.addEventListener("visibilitychange", () => document.hidden || poll());
setInterval(refreshAge, 500);
choose({});
