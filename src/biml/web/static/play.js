// The page of `biml play`: study examples and a query, and what models, people and a search for
// readings make of them. The address holds the whole state, so that a link shows the same.
"use strict";

const settings = JSON.parse(document.getElementById("settings").textContent);
const $ = (id) => document.getElementById(id);
const tokens = (text) => text.split(/\s+/).filter(Boolean);
const looks = { ...settings.looks };

const EMPTY = { title: "", study: [], query: "", queries: [], pool: "", grammar: "", without: "" };
let state = { ...EMPTY };
let results = { models: [], readings: null, people: null };
let focus = null; // whose attention is shown: {model, response, row}; row null: of the whole response
let editing = null; // number of the study example that is edited

// --- the state in the address

const pairsToText = (pairs) => pairs.map(([a, b]) => `${a} -> ${b}`).join(" | ");
const textToPairs = (text, separator = "|") =>
  text
    .split(separator)
    .filter((part) => part.trim())
    .map((part) => part.split("->"))
    .map(([a, ...b]) => [tokens(a).join(" "), tokens(b.join(" ")).join(" ")]);

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const text = (name) => given.get(name) ?? "";
  const read = { study: textToPairs(text("study")), queries: textToPairs(text("queries")) };
  for (const name of ["title", "query", "pool", "grammar", "without"]) read[name] = text(name);
  return { ...EMPTY, ...read };
}

function writeAddress() {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    const text = Array.isArray(value) ? pairsToText(value) : value;
    if (text) given.set(name, text);
  }
  history.replaceState(null, "", `#${given}`);
}

// --- requests

async function post(path, body) {
  const response = await fetch(`api/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return answer(response);
}

async function answer(response) {
  if (response.ok) return response.json();
  const text = await response.text();
  let detail = text;
  try {
    detail = JSON.parse(text).detail;
  } catch {
    // Refusals of the server are plain text.
  }
  throw new Error(detail);
}

const complete = () => state.study.filter(([a, b]) => tokens(a).length && tokens(b).length);

function task() {
  const body = { study: complete(), query: state.query };
  if (state.pool) body.pool = state.pool;
  return body;
}

function modelTask() {
  const body = task();
  if (state.grammar) body.grammar = state.grammar;
  return body;
}

// The state has the models that do not respond, so that a link shows those that were not there.
const left = () => state.without.split("|").filter(Boolean);
const shown = () => settings.models.filter((name) => !left().includes(name));
const isTraced = (name) => settings.networks.includes(name);

// One update at a time: a change during one starts another afterwards, with the latest state.
let running = false;
let changed = false;

function update() {
  changed = true;
  if (!running) run();
}

async function run() {
  running = true;
  while (changed) {
    changed = false;
    writeAddress();
    $("results").setAttribute("aria-busy", "true");
    try {
      await refresh();
      say("");
    } catch (error) {
      results = { models: [], readings: null, people: null };
      say(error instanceof TypeError ? "The server does not answer; is `biml play` running?" : error.message);
    }
    $("results").setAttribute("aria-busy", "false");
    renderResults();
    renderAttention();
  }
  running = false;
}

async function refresh() {
  if (!tokens(state.query).length) {
    results = { models: [], readings: null, people: null };
    focus = null;
    await ensureLooks();
    return;
  }
  const names = shown();
  const traced = [focus?.model, ...settings.networks].find((name) => names.includes(name));
  const respond = (models, attention) =>
    models.length ? post("respond", { ...modelTask(), models, attention, k: 4, least: 0.001 }) : [];
  const [first, others, readings, people] = await Promise.all([
    respond(traced ? [traced] : [], true),
    respond(names.filter((name) => name !== traced), false),
    post("readings", task()),
    settings.has_people ? post("people", task()) : null,
  ]);
  const of = new Map([...first, ...others].map((one) => [one.model, one]));
  results = { models: names.map((name) => of.get(name)), readings, people };
  const [{ responses, attention }] = first.length ? first : [{}];
  const row = focus && focus.row < attention?.rows.length ? focus.row : null;
  focus = attention ? { model: traced, response: responses[0].response, row, attention } : null;
  await ensureLooks();
}

async function ensureLooks() {
  const texts = [...state.study.map((pair) => pair[1]), ...state.queries.map((pair) => pair[1]), state.pool];
  for (const one of results.models) texts.push(...one.responses.map((each) => each.response));
  texts.push(...(results.people?.responses ?? []).map((each) => each.response));
  texts.push(...(results.readings?.readings ?? []).map((each) => each.output));
  const used = [...new Set(tokens(texts.join(" ")))];
  if (used.every((symbol) => looks[symbol])) return;
  const query = new URLSearchParams({ symbols: used.join(" ") });
  Object.assign(looks, await answer(await fetch(`api/symbols?${query}`)));
}

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

// --- elements

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function paint(made, symbol) {
  const look = looks[symbol];
  made.dataset.letters = look?.letters ?? symbol;
  made.style.background = look?.colour ?? "#e7e9ed";
  made.style.color = look?.ink ?? "#1b1d21";
  return made;
}

const nameOf = (symbol) => looks[symbol]?.name ?? symbol;

function dots(text) {
  const row = element("span", "dots");
  row.setAttribute("role", "img");
  row.setAttribute("aria-label", tokens(text).map(nameOf).join(" ") || "nothing");
  row.append(...tokens(text).map((symbol) => paint(element("i", "dot"), symbol)));
  if (!row.childElementCount) row.append(element("span", "none", "(nothing)"));
  return row;
}

function percent(p) {
  if (p >= 0.0995) return `${Math.round(100 * p)}%`;
  return p < 0.001 ? "<0.1%" : `${(100 * p).toFixed(1)}%`;
}

function answerLine(row, share, text, tag) {
  const item = element("li");
  const line = element("div", "answer-line");
  const verdict = element("span", "verdict");
  if (tag) verdict.append(element("span", `tag ${tag.kind}`, tag.text));
  verdict.append(element("span", "percent", text));
  line.append(row, verdict);
  const track = element("div", "track");
  const fill = element("div", "fill");
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  item.append(line, track);
  return item;
}

// --- study examples

function renderStudy() {
  $("study").replaceChildren(
    ...state.study.map((pair, number) => (number === editing ? editor(pair, number) : line(pair, number))),
  );
  $("episode-title").textContent = state.title || (state.study.length ? "" : "None yet: the model has nothing to learn from.");
  renderWords();
  renderAttention();
}

function line([words, symbols], number) {
  const item = element("li", tokens(words).length && tokens(symbols).length ? "" : "incomplete");
  const button = element("button", "line");
  button.type = "button";
  button.title = "Edit";
  const input = element("span", "input");
  for (const word of tokens(words)) input.append(element("span", "token", word), " ");
  if (!tokens(words).length) input.textContent = "(no words)";
  const output = element("span", "output");
  output.append(dots(symbols));
  button.append(input, output, element("span", "share"));
  button.addEventListener("click", () => edit(number));
  item.append(button);
  return item;
}

function edit(number) {
  editing = number;
  renderStudy();
  $("study").querySelector(".editing input[type=text]")?.focus();
}

function pool() {
  const own = tokens([...state.study.map((pair) => pair[1]), state.pool].join(" "));
  const others = own.every((symbol) => settings.symbols.includes(symbol)) ? settings.symbols : [];
  return [...new Set([...others, ...own])];
}

function editor(pair, number) {
  const item = element("li", "editing");
  const input = element("input");
  input.type = "text";
  input.maxLength = 300;
  input.value = pair[0];
  input.placeholder = "words";
  input.setAttribute("aria-label", `input of example ${number + 1}`);
  input.autocapitalize = "off";
  input.spellcheck = false;
  const made = $("editor").content.firstElementChild.cloneNode(true);
  made.querySelector(".pool").replaceChildren(
    ...pool().map((symbol, index) => {
      const circle = paint(element("button", "circle"), symbol);
      circle.type = "button";
      circle.dataset.symbol = symbol;
      circle.setAttribute("aria-label", nameOf(symbol));
      if (index < 9) circle.setAttribute("aria-keyshortcuts", index + 1);
      return circle;
    }),
  );
  made.querySelector("input").value = pair[1];
  const change = (place, text) => {
    state.study[number][place] = text;
    state.title = state.grammar = "";
    renderWords();
    update();
  };
  input.addEventListener("input", () => change(0, input.value));
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") close();
  });
  made.addEventListener("circles", (event) => change(1, event.detail.symbols.join(" ")));
  const close = () => {
    const button = number;
    edit(null);
    $("study").children[button]?.querySelector("button").focus();
  };
  const buttons = element("div", "tools");
  const done = element("button", "", "Done");
  const remove = element("button", "", "Remove");
  done.type = remove.type = "button";
  done.addEventListener("click", close);
  remove.addEventListener("click", () => {
    state.study.splice(number, 1);
    state.title = state.grammar = "";
    edit(null);
    update();
    $("add").focus();
  });
  buttons.append(done, remove);
  item.append(input, made, buttons);
  Circles.at(made);
  return item;
}

function renderWords() {
  const known = [...new Set(state.study.flatMap(([words]) => tokens(words)))];
  $("words").replaceChildren(
    ...known.map((word) => {
      const chip = element("button", "", word);
      chip.type = "button";
      chip.addEventListener("click", () => setQuery([...tokens(state.query), word].join(" ")));
      return chip;
    }),
  );
  if (known.length) {
    const back = element("button", "", "⌫");
    back.type = "button";
    back.setAttribute("aria-label", "remove the last word of the query");
    back.addEventListener("click", () => setQuery(tokens(state.query).slice(0, -1).join(" ")));
    $("words").append(back);
  }
  $("queries-label").hidden = !state.queries.length;
  const options = state.queries.map(([words]) => new Option(words, words));
  $("queries").replaceChildren(new Option("choose …", ""), ...options);
  $("queries").value = state.queries.some(([words]) => words === state.query) ? state.query : "";
}

function setQuery(text) {
  state.query = text;
  if ($("query").value !== text) $("query").value = text;
  const isListed = state.queries.some(([words]) => words === text);
  $("queries").value = isListed ? text : "";
  update();
}

// --- results

function tagOf(response) {
  const found = results.readings;
  const target = state.queries.find(([words]) => words === tokens(state.query).join(" "))?.[1];
  const place = found?.readings.findIndex((reading) => reading.output === response) ?? -1;
  if (target !== undefined && state.title && response === target) return { kind: "good", text: "correct" };
  if (place >= 0) {
    if (found.readings.length === 1) return { kind: "good", text: "the only reading" };
    const [first, second] = found.readings;
    const p = found.readings[place].probability;
    const unique = first.probability > second.probability * 1.001;
    if (place === 0 && unique) return { kind: "good", text: `likeliest reading, ${percent(p)}` };
    return { kind: "", text: `${unique ? "another" : "a"} reading, ${percent(p)}` };
  }
  if (!found?.readings.length) return null;
  return { kind: "bad", text: found.complete ? "no reading" : "no reading so far" };
}

function renderResults() {
  const cards = results.models.map(modelCard);
  if (results.people?.responses.length) cards.push(peopleCard());
  $("results").replaceChildren(...cards);
  renderReadings();
}

function modelCard(one) {
  const card = element("section", "card");
  card.append(element("h3", "", one.model));
  if (one.problem) {
    card.append(element("p", "small soft", one.problem));
    return card;
  }
  const list = element("ol");
  for (const { response, probability } of one.responses) {
    const row = isTraced(one.model) ? symbolButtons(one, response) : dots(response);
    list.append(answerLine(row, probability, percent(probability), tagOf(response)));
  }
  const rest = 1 - one.responses.reduce((sum, each) => sum + each.probability, 0);
  card.append(list);
  if (rest >= 0.0005) card.append(element("p", "small soft", `other responses: ${percent(rest)}`));
  return card;
}

// A response whose symbols, and whose end, show the attention behind them.
function symbolButtons(one, response) {
  const row = element("span", "dots");
  const symbols = [...tokens(response), null];
  symbols.forEach((symbol, index) => {
    const button = element("button", "dot");
    button.type = "button";
    if (symbol === null) {
      button.classList.add("end");
      button.textContent = "end";
    } else paint(button, symbol);
    const chosen = focus?.model === one.model && focus.response === response && focus.row === index;
    button.setAttribute("aria-pressed", chosen);
    button.setAttribute("aria-label", `attention for ${symbol === null ? "the end" : nameOf(symbol)}, ${index + 1}`);
    button.addEventListener("click", () => attend(one, response, chosen ? null : index));
    row.append(button);
  });
  return row;
}

async function attend(one, response, row) {
  const index = [...document.querySelectorAll("button.dot")].indexOf(document.activeElement);
  let attention = one.attention;
  if (!attention || response !== one.responses[0].response) {
    const body = { ...modelTask(), models: [one.model], responses: [response] };
    try {
      [{ attention }] = await post("trace", body);
      if (!attention) return say(`${one.model}: its attention is not recorded`);
    } catch (error) {
      return say(error.message);
    }
  }
  focus = { model: one.model, response, row, attention };
  renderResults();
  renderAttention();
  return document.querySelectorAll("button.dot")[index]?.focus();
}

function peopleCard() {
  const card = element("section", "card");
  const total = results.people.responses.reduce((sum, each) => sum + each.count, 0);
  card.append(element("h3", "", `People (${total})`));
  const list = element("ol");
  for (const { response, count } of results.people.responses.slice(0, 8))
    list.append(answerLine(dots(response), count / total, `${count}`, tagOf(response)));
  card.append(list);
  const more = results.people.responses.length - 8;
  if (more > 0) card.append(element("p", "small soft", `and ${more} other responses`));
  return card;
}

function renderReadings() {
  const found = results.readings;
  const card = $("readings");
  card.hidden = !found;
  if (!found) return;
  card.replaceChildren(element("h3", "", "Readings that the study examples allow"));
  const notes = [];
  if (!found.n_grammars && found.complete) notes.push("No grammar of the meta-grammar gives all study examples.");
  else if (!found.readings.length) notes.push("No grammar found gives this query an output.");
  if (found.new_words.length) {
    const words = found.new_words.join(" ");
    notes.push(`No study example has ${words}: taken for a name of an unused colour, all equally likely.`);
  }
  if (!found.complete) notes.push("The search was ended by its time limit; there may be other readings.");
  if (found.readings.length) {
    const list = element("ol");
    for (const { output, probability, grammar } of found.readings) {
      const item = answerLine(dots(output), probability, percent(probability), null);
      const rules = element("details");
      rules.append(element("summary", "", "rules"), element("pre", "", grammar.replaceAll("->", "→")));
      item.append(rules);
      list.append(item);
    }
    card.append(list);
    notes.push(`${found.n_grammars.toLocaleString("en")} grammars of the meta-grammar give all study examples; percent are posterior probabilities.`.replace(/^1 grammars of the meta-grammar give/, "1 grammar of the meta-grammar gives"));
  }
  for (const note of notes) card.append(element("p", "small soft", note));
}

// --- attention to the study examples

// The weights of the layer and the head that are chosen, or their average.
function chosenWeights({ weights, by_layer: byLayer }) {
  choices($("layer"), Object.keys(byLayer));
  choices($("head"), Object.values(byLayer)[0].map((_, head) => `${head}`));
  const [layer, head] = [$("layer").value, $("head").value];
  if (!layer && !head) return weights;
  const layers = layer ? [byLayer[layer]] : Object.values(byLayer);
  const chosen = layers.flatMap((heads) => (head ? [heads[head]] : heads));
  return weights.map((row, i) => row.map((_, j) => chosen.reduce((sum, one) => sum + one[i][j], 0) / chosen.length));
}

// Offer these values, and all; keep the present one where it is offered.
function choices(select, values) {
  const offered = ["", ...values];
  const present = offered.includes(select.value) ? select.value : "";
  if (offered.join() !== [...select.options].map((option) => option.value).join())
    select.replaceChildren(...offered.map((value) => new Option(value || "all", value)));
  select.value = present;
}

function renderAttention() {
  const lines = [...$("study").children];
  const shown = state.study.map(([a, b], i) => (tokens(a).length && tokens(b).length ? i : -1)).filter((i) => i >= 0);
  const marks = lines.map((item) => [...item.querySelectorAll(".token, .output .dot")]);
  marks.flat().forEach((mark) => mark.style.removeProperty("--attention"));
  lines.forEach((item) => item.querySelector(".share")?.replaceChildren());
  $("legend").textContent = "";
  $("attention-of").hidden = !focus;
  if (!focus) return;
  const { tokens: sources } = focus.attention;
  const weights = chosenWeights(focus.attention);
  const rows = focus.row === null ? weights : [weights[focus.row]];
  const mean = sources.map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
  const largest = Math.max(...mean.filter((_, i) => sources[i][1] >= 0), 1e-9);
  shown.forEach((number, example) => {
    const own = sources.map((_, i) => i).filter((i) => sources[i][1] === example);
    const share = own.reduce((sum, i) => sum + mean[i], 0);
    lines[number]?.querySelector(".share")?.replaceChildren(percent(share));
    // Words and symbols have marks; IO and the separator between them have none.
    const words = tokens(state.study[number][0]).length;
    const marked = own.filter((_, place) => place !== words);
    marks[number]?.forEach((mark, place) => {
      if (marked[place] !== undefined) mark.style.setProperty("--attention", mean[marked[place]] / largest);
    });
  });
  const symbol = focus.row === null ? "each symbol of its answer, on average" : focus.row < tokens(focus.response).length ? `symbol ${focus.row + 1} of its answer` : "the end of its answer";
  $("legend").textContent = `Shaded: the attention of ${focus.model} while it gives ${symbol}. Click a symbol of an answer for its own.`;
}

// --- tools

function renderModels() {
  for (const chip of $("models").children)
    chip.setAttribute("aria-pressed", shown().includes(chip.textContent));
}

function toggleModel(name) {
  state.without = (left().includes(name) ? left().filter((one) => one !== name) : [...left(), name]).join("|");
  renderModels();
  update();
}

$("models").hidden = settings.models.length < 2;
for (const name of settings.models) {
  const chip = element("button", "", name);
  chip.type = "button";
  chip.addEventListener("click", () => toggleModel(name));
  $("models").append(chip);
}

async function load(request, fileName) {
  try {
    const { study, queries, pool, grammar, ...loaded } = await post("episode", request);
    const title = fileName ?? loaded.title;
    const query = queries[0]?.[0] ?? "";
    setState({ title, study, queries, query, pool: pool ?? "", grammar: grammar ?? "" });
  } catch (error) {
    say(error.message);
  }
}

function setState(next) {
  state = { ...EMPTY, study: [], without: state.without, ...next };
  editing = null;
  renderModels();
  $("query").value = state.query;
  $("text").value = state.study.map(([a, b]) => `${a} -> ${b}`).join("\n");
  ensureLooks().then(renderStudy, (error) => say(error.message));
  update();
}

$("gold").addEventListener("click", () => load({ source: "gold" }));
$("random").addEventListener("click", () => load({ source: "random", seed: Math.floor(Math.random() * 1e6) }));
$("clear").addEventListener("click", () => setState({}));
$("open").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") $("file").click();
});
$("file").addEventListener("change", async () => {
  const [file] = $("file").files;
  if (file) await load({ source: "text", text: await file.text() }, file.name);
  $("file").value = "";
});
$("link").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    $("link").textContent = "Copied";
    setTimeout(() => ($("link").textContent = "Copy link"), 1500);
  } catch {
    say("The browser does not allow it; copy the address of this page.");
  }
});
$("add").addEventListener("click", () => {
  state.study.push(["", ""]);
  state.title = state.grammar = "";
  edit(state.study.length - 1);
});
$("as-text").addEventListener("click", () => {
  const open = $("text-editor").hidden;
  $("text-editor").hidden = !open;
  $("study").hidden = open;
  $("as-text").setAttribute("aria-expanded", open);
  $("as-text").textContent = open ? "Edit as circles" : "Edit as text";
  if (open) $("text").value = state.study.map(([a, b]) => `${a} -> ${b}`).join("\n");
  else ensureLooks().then(renderStudy);
});
$("text").addEventListener("input", () => {
  state.study = textToPairs($("text").value, "\n");
  state.title = state.grammar = "";
  editing = null;
  renderStudy();
  update();
});
$("query").addEventListener("input", () => setQuery($("query").value));
$("layer").addEventListener("change", renderAttention);
$("head").addEventListener("change", renderAttention);
$("queries").addEventListener("change", () => $("queries").value && setQuery($("queries").value));
window.addEventListener("hashchange", () => setState(readAddress()));

if (location.hash.length > 1) setState(readAddress());
else load({ source: "gold" });
