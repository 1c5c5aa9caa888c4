// The page of `isometry serve`. What documents say becomes text nodes and nothing else.

// Milliseconds without a key before a search begins, and before one that lasts is announced.
const PAUSE = 120;
const LONG = 400;
// More words are not marked in a text: nobody reads on, and each is an element.
const MOST_MARKS = 2000;
const NEIGHBOURS = 8;
// Where there is no server, a file of its own answers out of what stands in the page.
const { offline } = globalThis;
const DEFAULTS = { mode: offline ? "lexical" : "hybrid", k: "10" };

const $ = (id) => document.getElementById(id);
const box = $("query");

let token = ""; // kept here only
let spaces = [];
let bases = new Map(); // the name under which a Space is searched by its base
let opened = ""; // the id of the document that is shown
let passages = new Map(); // where the best passage of a document is, by its id
let nearest = new Map(); // of a document that is near to the opened one, the passage that is
let searching = null; // what cancels the search under way
let opening = null;
let settled = false; // whether the next key begins a new entry of the history
let pause = 0;
let later = 0;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// ---- The server

class Refused extends Error {
  constructor(message, status, seconds = 0) {
    super(message);
    Object.assign(this, { status, seconds });
  }
}

async function call(path, { body, signal } = {}) {
  if (offline) {
    const found = offline(path, body);
    if (!found) throw new Refused("There is no such document here.", 404);
    return { json: () => found };
  }
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  if (body) headers["content-type"] = "application/json";
  let answer;
  try {
    const method = body ? "POST" : "GET";
    answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server cannot be reached. Is it still running?", 0);
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  const message = said.error?.message ?? `The server answered with status ${answer.status}.`;
  throw new Refused(message, answer.status, Number(answer.headers.get("retry-after")) || 0);
}

const json = async (path, options) => (await call(path, options)).json();

function refuse(error, again) {
  clearTimeout(later);
  if (error.name === "AbortError") return;
  if (!(error instanceof Refused)) throw error;
  $("status").textContent = "";
  if (error.status === 401) {
    $("error").textContent = token ? "This is not the server's token." : "";
    token = "";
    $("token").hidden = false;
    $("search").hidden = true;
    $("secret").focus();
  } else if ([429, 503].includes(error.status)) {
    const seconds = Math.max(1, error.seconds);
    $("error").textContent = `${error.message} Asking again in ${seconds} s.`;
    later = setTimeout(again, 1000 * seconds);
  } else {
    $("error").textContent = error.message;
  }
}

function well() {
  clearTimeout(later);
  $("error").textContent = "";
}

// ---- Words

const COMMON = new Set(
  ("a an and are as at be but by can do does for from how i if in into is it my no not of on or" +
    " that the their then there these they this to was what when where which who why will with")
    .split(" "),
);
const UNSPACED = /\p{sc=Han}|\p{sc=Hiragana}|\p{sc=Katakana}|\p{sc=Thai}|\p{sc=Khmer}|\p{sc=Lao}/u;

function stem(word) {
  for (const [ending, least] of [[/(?:ing|ed|ies)$/, 3], [/(?<=s|x|z|ch|sh)es$/, 3],
    [/(?<!s)s$/, 3], [/[ey]$/, 4]]) {
    const short = word.replace(ending, "");
    if (short !== word && short.length >= least) return short;
  }
  return word;
}

// What finds a query's words in a text, with a few letters more than their stems; or nothing.
function matcher(query) {
  const words = query.toLowerCase().match(/[\p{L}\p{N}\p{M}]+/gu) ?? [];
  const parts = new Set();
  for (const word of words.slice(0, 64)) {
    if (COMMON.has(word)) continue;
    const short = stem(word);
    const whole = `(?<![\\p{L}\\p{N}\\p{M}])${short}${short.length > 2 ? "\\p{L}{0,4}" : ""}` +
      "(?![\\p{L}\\p{N}\\p{M}])";
    parts.add(UNSPACED.test(word) ? word : whole);
  }
  return parts.size ? new RegExp([...parts].join("|"), "giu") : null;
}

function marked(text, words) {
  const nodes = [];
  let last = 0;
  for (const match of words ? text.matchAll(words) : []) {
    if (nodes.length >= 2 * MOST_MARKS) break;
    nodes.push(text.slice(last, match.index), element("mark", { textContent: match[0] }));
    last = match.index + match[0].length;
  }
  return [...nodes, text.slice(last)];
}

// The part of a passage that has most of the words, in one line.
function excerpt(result, words) {
  // A passage begins with its heading, which stands above already.
  const body = [...result.text].slice(-(result.end - result.start)).join("");
  const flat = body.replace(/\s+/g, " ").trim();
  const found = words ? [...flat.matchAll(words)].slice(0, 200) : [];
  let best = 0;
  let most = 0;
  for (const { index } of found) {
    const near = found.filter((other) => other.index >= index && other.index < index + 240);
    const different = new Set(near.map((other) => stem(other[0].toLowerCase()))).size;
    if (different > most) [best, most] = [index, different];
  }
  const from = best > 120 ? flat.lastIndexOf(" ", best - 40) + 1 : 0;
  return (from ? "… " : "") + flat.slice(from, from + 600);
}

function ordinal(number) {
  const teen = number % 100 > 10 && number % 100 < 14;
  return number + ((!teen && { 1: "st", 2: "nd", 3: "rd" }[number % 10]) || "th");
}

// ---- The state, which is the address

function asked() {
  const mode = document.querySelector("[name=mode]:checked").value;
  return { query: box.value, space: $("space").value, mode, k: Number($("k").value) };
}

function fragment(open = opened) {
  const { query, space, mode, k } = asked();
  const parts = new URLSearchParams();
  if (query) parts.set("q", query);
  if (spaces.length > 1) parts.set("space", space);
  if (!$("base").checked) parts.set("base", "no");
  if (mode !== DEFAULTS.mode) parts.set("mode", mode);
  if (String(k) !== DEFAULTS.k) parts.set("k", k);
  if (open) parts.set("open", open);
  return `#${parts}`;
}

function entitle() {
  document.title = [box.value.trim(), $("name").textContent].filter(Boolean).join(" · ");
}

function remember(push) {
  const now = fragment();
  entitle();
  if (now === (location.hash || "#")) return;
  history[push ? "pushState" : "replaceState"](null, "", now);
}

// Takes over what the address says.
async function follow() {
  const { hash } = location;
  const parts = new URLSearchParams(location.hash.slice(1));
  box.value = parts.get("q") ?? "";
  const mode = parts.get("mode") ?? DEFAULTS.mode;
  for (const radio of document.getElementsByName("mode")) radio.checked = radio.value === mode;
  if (!document.querySelector("[name=mode]:checked")) $("search").elements.mode.value = DEFAULTS.mode;
  const k = String(Math.min(1000, Math.max(1, parseInt(parts.get("k"), 10) || DEFAULTS.k)));
  if (![...$("k").options].some((option) => option.value === k)) $("k").add(new Option(k));
  $("k").value = k;
  $("base").checked = parts.get("base") !== "no";
  const space = parts.get("space");
  if (space && spaces.some((each) => each.id === space)) $("space").value = space;
  settled = Boolean(box.value);
  introduce();
  await search();
  if (hash !== location.hash) return;
  const open = parts.get("open");
  if (open) await show(open);
  else if (opened) hide();
}

// ---- Searching

async function search() {
  clearTimeout(pause);
  clearTimeout(later);
  searching?.abort();
  const mine = (searching = new AbortController());
  const wanted = asked();
  wanted.query = wanted.query.toWellFormed?.() ?? wanted.query;
  if (!wanted.query.trim()) {
    list([], wanted);
    $("status").textContent = "";
    well();
    return;
  }
  const base = $("base").checked && bases.get(wanted.space);
  const began = performance.now();
  const announced = setTimeout(() => {
    if (mine === searching) $("status").textContent = "Searching …";
  }, LONG);
  try {
    const { results } = await json("search", { body: wanted, signal: mine.signal });
    // An older answer never takes the place of a newer one.
    if (mine !== searching) return;
    clearTimeout(announced);
    well();
    list(results, wanted);
    const many = results.length === 1 ? "1 document" : `${results.length || "No"} documents`;
    const way = offline ? "" : ", or another way to search,";
    const none = results.length ? "" : `. Other words${way} may find some.`;
    $("status").textContent = `${many} in ${Math.round(performance.now() - began)} ms${none}`;
    if (!base) return;
    const other = await json("search", { body: { ...wanted, space: base }, signal: mine.signal });
    if (mine === searching) compare(results, other.results);
  } catch (error) {
    if (mine === searching) refuse(error, search);
  } finally {
    clearTimeout(announced);
  }
}

// What the base finds, and on which place it has what was found here.
function compare(results, others) {
  const places = (found) => new Map(found.map(({ document }, place) => [document, place + 1]));
  const [here, there] = [places(results), places(others)];
  $("others").replaceChildren(...others.map(({ document, title }) => {
    const [last, path] = heading(title, document);
    const place = here.get(document);
    return element(
      "li", {},
      ...(path ? [element("p", { className: "path", dir: "auto" }, path)] : []),
      element("p", { dir: "auto" }, opener(document, [element("bdi", {}, last)])),
      element("p", { className: place ? "muted" : "muted lost" },
        place ? `${ordinal(place)} here` : "not among these"),
    );
  }));
  for (const link of links()) {
    const place = there.get(link.dataset.document);
    const said = place ? `${ordinal(place)} by the base` : "not found by the base";
    link.closest("li").querySelector(".id").before(element("span", { className: "base" }, said));
  }
  $("beside").hidden = !others.length;
}

function list(results, wanted) {
  // Until the base has answered the same, if it does.
  $("beside").hidden = true;
  const words = matcher(wanted.query);
  passages = new Map(results.map((result) => [result.document, result]));
  nearest = new Map();
  $("results").replaceChildren(...results.map((result) => entry(result, words, wanted.mode)));
  $("found").hidden = !wanted.query.trim();
  $("columns").classList.toggle("wide", !$("found").hidden);
  $("keys").hidden = !results.length;
  point();
}

// A heading path: what it ends with, and what stands before.
function heading(title, id) {
  const parts = title.split(" > ");
  return [parts.pop() || id, parts.join(" › ")];
}

function entry(result, words, mode) {
  const [title, path] = heading(result.title, result.document);
  const link = opener(result.document, marked(title, words));
  const why = [
    mode !== "lexical" && [result.dense_rank, "by meaning"],
    mode !== "dense" && [result.lexical_rank, "by words"],
  ].filter(Boolean).map(([rank, how]) => element(
    "span",
    { className: rank === 1 ? "first" : "" },
    rank ? `${ordinal(rank)} ${how}` : `not found ${how}`,
  ));
  return element(
    "li", {},
    ...(path ? [element("p", { className: "path", dir: "auto" }, path)] : []),
    element("h2", { dir: "auto" }, link),
    element("p", { className: "passage", dir: "auto" }, ...marked(excerpt(result, words), words)),
    element("p", { className: "why" }, ...why,
      element("span", { className: "id" }, element("bdi", {}, result.document))),
  );
}

// A link that opens a document here, or elsewhere if the browser is asked to.
function opener(id, children) {
  const link = element("a", { href: fragment(id) }, ...children);
  link.dataset.document = id;
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    show(id, true);
  });
  return link;
}

const links = () => [...$("results").querySelectorAll("a")];

// Marks the result that is open.
function point() {
  for (const link of links()) {
    const here = link.dataset.document === opened;
    link.closest("li").classList.toggle("opened", here);
    if (here) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

// ---- One document

async function show(id, push = false) {
  opening?.abort();
  const mine = (opening = new AbortController());
  const path = `documents/${encodeURIComponent(id)}`;
  const space = `space=${encodeURIComponent($("space").value)}`;
  const { signal } = mine;
  try {
    const found = await json(`${path}?${space}`, { signal });
    if (mine !== opening) return;
    well();
    opened = id;
    remember(push);
    settled = true;
    fill(found);
    const near = await json(`${path}/neighbours?${space}&k=${NEIGHBOURS}`, { signal });
    if (mine === opening) $("near").replaceChildren(...near.results.map(neighbour));
  } catch (error) {
    if (mine === opening) refuse(error, () => show(id, push));
  }
}

function fill({ id, title, text, metadata }) {
  const words = matcher(box.value);
  const [last, path] = heading(title, id);
  $("document-id").firstElementChild.textContent = path || id;
  $("document-title").textContent = last;
  const links = metadata.links.slice(0, 12).join(", ");
  const facts = { Document: path ? id : "", Source: metadata.source, Links: links };
  $("metadata").replaceChildren(
    ...Object.entries(facts).filter(([, value]) => value && value !== id || value === id && path)
      .map(([name, value]) => element("div", {}, element("dt", {}, name),
        element("dd", {}, element("bdi", {}, value)))),
  );
  // What was found for the query says more than what is near to another document.
  const passage = passages.get(id) ?? nearest.get(id);
  const [start, end] = passage ? [units(text, passage.start), units(text, passage.end)] : [0, 0];
  const here = element("span", { className: "here" }, ...marked(text.slice(start, end), words));
  $("text").classList.toggle("code", metadata.kind === "code");
  $("text").classList.toggle("around", end > start);
  $("text").replaceChildren(
    ...marked(text.slice(0, start), words), here, ...marked(text.slice(end), words),
  );
  $("near").replaceChildren();
  const panel = $("document");
  panel.hidden = false;
  $("columns").classList.add("opened");
  point();
  panel.focus({ preventScroll: true });
  const own = getComputedStyle(panel).overflowY === "auto";
  panel.scrollTop = 0;
  const far = start > 0 && here.offsetTop - panel.offsetTop > innerHeight / 2;
  if (own && far) panel.scrollTop = here.offsetTop - innerHeight / 3;
  else if (!own) (far ? here : panel).scrollIntoView({ block: far ? "center" : "start" });
}

// Places in a text are given in characters; strings here count some of them as two.
function units(text, characters) {
  let place = 0;
  for (let left = characters; left > 0 && place < text.length; left -= 1) {
    place += text.codePointAt(place) > 0xffff ? 2 : 1;
  }
  return place;
}

function neighbour(found) {
  const [title, path] = heading(found.title, found.document);
  nearest.set(found.document, found);
  const before = path ? [element("span", { className: "path", dir: "auto" }, path), " "] : [];
  return element(
    "li", {},
    element("span", { className: "cosine", title: "Cosine" }, found.score.toFixed(2)),
    element("span", {}, ...before, opener(found.document, [element("bdi", {}, title)])),
  );
}

function hide(push = false) {
  opening?.abort();
  const link = links().find((each) => each.dataset.document === opened);
  const within = $("document").contains(document.activeElement);
  opened = "";
  $("document").hidden = true;
  $("columns").classList.remove("opened");
  point();
  if (push) remember(true);
  if (push || within) (link ?? box).focus();
}

// ---- What the server has

function introduce() {
  const space = spaces.find((each) => each.id === $("space").value);
  $("name").textContent = space.id;
  $("bases").hidden = !bases.has(space.id);
  $("about").textContent =
    `${space.passages.toLocaleString("en")} passages, ` +
    (offline ? "searched by their words only" : `${space.dimensions} dimensions`);
  entitle();
  if ($("proof").dataset.space !== space.id) prove(space.id);
}

const points = (value) => (100 * value).toFixed(1).replace(/^-0\.0$/, "0.0").replace("-", "−");
const change = (value) => (points(value) !== "0.0" && value > 0 ? "+" : "") + points(value);

async function prove(name) {
  $("proof").dataset.space = name;
  $("proof").hidden = true;
  let proof;
  try {
    proof = await json(`spaces/${encodeURIComponent(name)}/proof`);
  } catch {
    return; // A Space without figures can be searched as well.
  }
  if ($("proof").dataset.space !== name) return;
  const of = (system) => proof.rows.find((row) => row.system === system)?.metrics["ndcg@10"];
  const row = (label, base, tuned, what) => {
    const found = proof.differences.find((d) => d.what === what && d.metric === "ndcg@10");
    const cells = [base, tuned].map((value) =>
      element("td", {}, value === undefined ? "" : points(value)));
    const difference = found ? [
      element(found.low > 0 ? "strong" : "span", {}, change(found.difference)),
      // None where all queries are of pages that belong together.
      element("small", {}, found.low === null ? "" : `${change(found.low)} to ${change(found.high)}`),
    ] : [];
    return element("tr", {}, element("th", { scope: "row" }, label), ...cells,
      element("td", {}, ...difference));
  };
  $("verdict").textContent = proof.headline;
  const table = $("proof").querySelector("table");
  table.caption.textContent = "nDCG@10 in points on held-out queries, with 95 % intervals";
  table.tBodies[0].replaceChildren(
    row("Meaning", of("base"), of("tuned"), "tuned - base"),
    row("Both", of("base fused"), of("tuned fused"), "tuned fused - base fused"),
    row("Words", of("lexical"), of("lexical")),
  );
  $("caveat").textContent = [
    proof.artificial && "The queries were made from the documents: compare the columns, but do" +
      " not expect these levels of people's questions.",
    proof.migrated && "The Space has another model since: the figures are of the one before.",
  ].filter(Boolean).join(" ");
  $("report").replaceChildren(...(proof.report ? [reporter(name)] : []));
  $("proof").hidden = false;
}

// The whole report: a link, or with a token, which no link can carry, a file.
function reporter(name) {
  const href = `spaces/${encodeURIComponent(name)}/report`;
  if (!token) return element("a", { href }, "The whole report");
  const button = element("button", { type: "button" }, "Save the whole report");
  button.addEventListener("click", async () => {
    try {
      const href = URL.createObjectURL(await (await call(button.dataset.href)).blob());
      element("a", { href, download: `${name}-report.html` }).click();
      URL.revokeObjectURL(href);
    } catch (error) {
      refuse(error, () => button.click());
    }
  });
  button.dataset.href = href;
  return button;
}

function describe(model) {
  const reads = model.max_tokens ? `, texts up to ${model.max_tokens} tokens` : "";
  const body = JSON.stringify({ model: model.id, input: ["one text", "another"] });
  return element(
    "li", {},
    element("h3", {}, element("bdi", {}, model.id)),
    element("p", { className: "muted" }, `${model.dimensions} dimensions${reads}`),
    element("pre", { tabIndex: 0 },
      `curl ${location.origin}/v1/embeddings${token ? " -H 'Authorization: Bearer TOKEN'" : ""}` +
      ` --json '${body.replaceAll("'", "'\\''")}'`),
  );
}

async function load() {
  try {
    // Whether all are loaded first: what is loaded after the list would be missed.
    const ready = await call("readyz").then(() => true, (error) => {
      if (error.status === 503) return false;
      throw error;
    });
    well();
    if (!ready) {
      $("status").textContent = "Models are being loaded …";
      later = setTimeout(load, 1000);
      return;
    }
    const models = (await json("models")).data;
    $("status").textContent = "";
    $("token").hidden = true;
    spaces = models.filter((model) => model.kind === "space" && !model.base_of);
    bases = new Map(models.filter((model) => model.base_of).map(({ id, base_of }) => [base_of, id]));
    $("models").hidden = spaces.length > 0;
    $("models").querySelector("ul").replaceChildren(...models.map(describe));
    $("search").hidden = !spaces.length;
    $("modes").hidden = Boolean(offline);
    if (!spaces.length) return;
    $("space").replaceChildren(...spaces.map(({ id }) => new Option(id)));
    $("spaces").hidden = spaces.length < 2;
    await follow();
    // Elsewhere it would raise a keyboard over the page.
    if (!opened && matchMedia("(hover: hover)").matches) box.focus();
  } catch (error) {
    refuse(error, load);
  }
}

// ---- What people do

box.addEventListener("input", () => {
  if (opened) hide();
  remember(settled);
  settled = false;
  clearTimeout(pause);
  if (box.value.trim()) pause = setTimeout(search, PAUSE);
  else search();
});

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  settled = true;
  search();
});

$("search").addEventListener("change", (event) => {
  if (event.target === box) return;
  if (opened) hide();
  remember(true);
  settled = true;
  introduce();
  search();
});

$("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("secret").value;
  $("secret").value = "";
  load();
});

$("close").addEventListener("click", () => hide(true));
addEventListener("popstate", () => spaces.length && follow());

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const { key, target } = event;
  const place = links().indexOf(target);
  if (key === "/" && !target.matches?.("input:not([type=radio]), select")) {
    box.focus();
    box.select();
  } else if (key === "Escape" && opened) {
    hide(true);
  } else if (key === "Escape" && place >= 0) {
    box.focus();
  } else if (key === "ArrowDown" && (place >= 0 || target === box)) {
    links()[place + 1]?.focus();
  } else if (key === "ArrowUp" && place >= 0) {
    (links()[place - 1] ?? box).focus();
  } else {
    return;
  }
  event.preventDefault();
});

load();
