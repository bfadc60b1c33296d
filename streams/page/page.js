// The live page: what /events tells, as text. Nothing that came from a topic ever becomes markup: only textContent is set.
"use strict";

const PHASES = {
  idle: "no candidate", shadow: "shadow: the candidate answers nobody", shadow_paused: "shadow, paused",
  step: "on trial", step_paused: "on trial, paused", promoted: "promoted", rolled_back: "rolled back",
};
const METRICS = { success: "success", ctr: "click-through", hit_rate: "hit rate", satisfaction: "satisfaction" };
const $ = (id) => document.getElementById(id);

function make(name, given = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined).map((child) => child instanceof Node ? child : String(child)));
  return made;
}
const fill = (id, ...children) => $(id).replaceChildren(...children);

const count = (value) => value === null || value === undefined ? "–" : value.toLocaleString("en");
const percent = (value) => `${Number(value.toFixed(2))} %`;
const share = (value) => value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`;
const fixed = (value, digits = 3) => value === null || value === undefined ? "–" : value.toFixed(digits);
const signed = (value) => value === null || value === undefined ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
const word = (value) => /^[\w-]+$/.test(value ?? "") ? value : "other"; // a class's name
const badge = (text) => make("span", { class: `badge ${word(text)}` }, text ?? "–");

function time(at) {
  const moment = new Date(at);
  if (Number.isNaN(moment.getTime())) return make("span", {}, "–");
  const today = moment.toDateString() === new Date().toDateString();
  return make("time", { datetime: moment.toISOString() }, today ? moment.toLocaleTimeString() : moment.toLocaleString());
}

function table(caption, heads, rows) {
  return make("table", {}, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows.map(([name, ...cells]) => make("tr", {}, make("th", { scope: "row" }, name),
      ...cells.map((cell) => make("td", {}, cell))))));
}

const withSmall = (text, small) => make("span", {}, text, small ? make("small", {}, ` ${small}`) : null);

const show = {
  split(split) {
    if (!split) return;
    const percentage = split.candidate ? split.percentage : 0;
    const bar = make("div", { class: "bar", role: "img", "aria-label": `${percent(100 - percentage)} ${split.stable}, ${percent(percentage)} ${split.candidate ?? "no candidate"}` });
    for (const [name, version, part] of [["stable", split.stable, 100 - percentage], ["canary", split.candidate, percentage]]) {
      if (!version) continue;
      const piece = make("span", { class: part ? name : `${name} nobody` }, part >= 12 ? `${version} ${percent(part)}` : "");
      piece.style.flexGrow = part;
      piece.style.flexBasis = "0";
      bar.append(piece);
    }
    fill("split", bar, make("p", {}, `${PHASES[split.phase] ?? split.phase}: `,
      make("strong", { class: "is-stable" }, split.stable), ` answers ${percent(100 - percentage)}`,
      ...(split.candidate ? [", ", make("strong", { class: "is-canary" }, split.candidate), ` ${percent(percentage)}`] : []),
      ", since ", time(split.since_ms)),
      make("p", { class: "about" }, [`config ${String(split.config_sha256).slice(0, 12)}`,
        split.previous ? `before it ${split.previous}` : null, split.rolled_back ? `rolled back ${split.rolled_back}` : null]
        .filter(Boolean).join(" · ")));
  },

  arms(told) {
    $("rate").textContent = `${told.answers_per_s.toFixed(1)} answers/s`;
    const arms = ["stable", "canary"].filter((name) => told.of[name]).map((name) => [name, told.of[name]]);
    if (!arms.length) return;
    const row = (name, cell) => [name, ...arms.map(([, arm]) => cell(arm))];
    const groups = [...new Set(arms.flatMap(([, arm]) => Object.keys(arm.satisfaction)))].sort();
    const drawn = table(make("span", {}, "since ", time(told.since_ms)), ["", ...arms.map(([name, arm]) => `${name} ${arm.version}`)], [
      row("requests", (arm) => count(arm.requests)),
      row("ok", (arm) => withSmall(count(arm.ok), share(arm.success))),
      row("fallback", (arm) => withSmall(count(arm.fallback), Object.entries(arm.reasons).map(([why, n]) => `${count(n)} ${why}`).join(", "))),
      row("latency p50, p99", (arm) => `${count(arm.latency_ms.p50)}, ${count(arm.latency_ms.p99)} ms`),
      row("click-through", (arm) => withSmall(share(arm.ctr), `of ${count(arm.shown)}`)),
      row("hit rate", (arm) => withSmall(share(arm.hit_rate), `of ${count(arm.past_horizon)}`)),
      ...groups.map((group) => row(`satisfaction ${group}`, (arm) => {
        const said = arm.satisfaction[group];
        return said ? withSmall(fixed(said.mean), `of ${count(said.count)}`) : "–";
      })),
      row("satisfaction M/F", (arm) => arm.satisfaction_ratio !== null && arm.few_reported ? "too few" : fixed(arm.satisfaction_ratio)),
    ]);
    const aside = Object.entries(told.aside).map(([name, n]) => `${count(n)} ${name}`).join(", ");
    fill("arms", drawn, ...(aside ? [make("p", { class: "about" }, `In neither arm: ${aside}`)] : []));
  },

  verdict(verdict) {
    const words = $("verdict-words");
    if (!verdict) {
      words.className = "none";
      words.textContent = "None yet.";
      fill("verdict");
      return;
    }
    words.className = "";
    words.replaceChildren(badge(verdict.outcome), ` ${verdict.message}`);
    const rows = Object.entries(verdict.metrics).map(([name, found]) => [
      METRICS[name] ?? name, signed(found.difference), `${signed(found.lower)} to ${signed(found.upper)}`, bounds(found),
      `${count(found.users_stable)}, ${count(found.users_canary)}`,
    ]);
    fill("verdict", table(make("span", {}, `${verdict.candidate} less ${verdict.stable}, up to `, time(verdict.until)),
      ["", "difference", "bounds", `margin (dashed)`, "users"], rows),
      make("p", { class: "about" }, `split as set: p = ${Number(verdict.sample_ratio_p).toPrecision(2)}`));
  },

  parity(records) {
    if (!records.length) return;
    fill("parity", table("newest windows", ["", "model", "ratio", "95 % interval", "status", "window"], records.map((each) => [
      each.variant, each.model_version ?? "–", fixed(each.satisfaction_ratio), `${fixed(each.ci_low)} to ${fixed(each.ci_high)}`,
      badge(each.status), make("span", {}, time(each.window_start), " – ", time(each.window_end)),
    ])));
  },

  answers(answers) {
    const list = $("answers");
    if (answers.length) $("newest").replaceChildren("last answer ", time(answers[0].served_at));
    // nothing moves under a reader's finger or focus
    if (paused || list.matches(":hover") || list.contains(document.activeElement)) return;
    if (answers.length) list.replaceChildren(...answers.map(answer));
  },

  trainings(events) {
    if (events.length) fill("trainings", ...events.map((each) => make("li", {}, make("p", {}, time(each.at_ms), " ",
      badge(each.event), each.model_version ? ` ${each.model_version}` : "", ` by ${each.rule ?? "–"}`),
      make("p", { class: "about" }, each.error ?? each.reason ?? ""))));
  },

  releases(events) {
    if (events.length) fill("releases", ...events.map((each) => make("li", {}, make("p", {}, time(each.at_ms), " ",
      make("strong", {}, each.outcome ? `${each.event} ${each.outcome}` : each.event), ` by ${each.who ?? "–"}`),
      make("p", { class: "about" }, each.message ?? [change(each), each.why].filter(Boolean).join(": ")))));
  },
};

function change(event) {
  const side = (split) => split ? `${split.stable} / ${split.candidate ?? "–"} ${typeof split.percentage === "number" ? percent(split.percentage) : "–"}` : "–";
  return event.from || event.to ? `${side(event.from)} → ${side(event.to)}` : "";
}

function bounds(found) {
  const space = "http://www.w3.org/2000/svg";
  const drawn = document.createElementNS(space, "svg");
  const values = [found.lower, found.upper, found.difference, -found.margin].filter((value) => typeof value === "number");
  const most = Math.max(0.001, ...values.map(Math.abs)) * 1.1;
  const x = (value) => 100 + 100 * value / most;
  const put = (name, given) => {
    const piece = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(given)) piece.setAttribute(key, value);
    drawn.append(piece);
  };
  drawn.setAttribute("class", "bounds");
  drawn.setAttribute("viewBox", "0 0 200 24");
  drawn.setAttribute("role", "img");
  drawn.setAttribute("aria-label", `${signed(found.lower)} to ${signed(found.upper)}, margin ${signed(-found.margin)}`);
  put("line", { class: "zero", x1: 100, x2: 100, y1: 2, y2: 22 });
  put("line", { class: "margin", x1: x(-found.margin), x2: x(-found.margin), y1: 2, y2: 22 });
  if (typeof found.lower === "number" && typeof found.upper === "number") {
    put("line", { class: "interval", x1: x(found.lower), x2: x(found.upper), y1: 12, y2: 12 });
    put("circle", { cx: x(found.difference), cy: 12, r: 4 });
  }
  return drawn;
}

function answer(each) {
  const titles = each.movies.map((movie) => movie.title ? (movie.year ? `${movie.title} (${movie.year})` : movie.title) : movie.id);
  const more = each.n > titles.length ? ` and ${each.n - titles.length} more` : "";
  return make("li", {},
    make("p", {}, badge(each.status), ` user ${each.user_id ?? "–"} `,
      make("span", { class: each.variant === "canary" ? "is-canary" : "is-stable" }, each.model_version ?? ""),
      ` ${count(each.latency_ms)} ms, `, time(each.served_at)),
    make("p", {}, titles.join(" · ") + more),
    make("p", { class: "why" }, each.why),
    make("button", { type: "button", class: "plain", onclick: () => record(each.request_id) }, `Record ${each.request_id}`));
}

// -- looking up ---------------------------------------------------------------------------------

async function ask(path, method = "GET") {
  $("looking").textContent = "looking …";
  try {
    const response = await fetch(path, { method, headers: { Accept: "application/json" } });
    const told = await response.json();
    $("looking").textContent = response.ok ? "" : told.error;
    return response.ok ? told : null;
  } catch (error) {
    $("looking").textContent = `canarec does not answer: ${error.message}`;
    return null;
  }
}

const found = (...children) => {
  fill("found", ...children);
  $("found").focus();
};

async function user(id) {
  const told = await ask(`/users/${encodeURIComponent(id)}`);
  if (!told) return;
  if (!told.answers.length) {
    $("looking").textContent = `no answer to user ${id} among those remembered here`;
    fill("found");
    return;
  }
  found(make("h3", {}, `User ${id}`), make("ol", { class: "answers" }, ...told.answers.map(answer)));
}

async function record(id) {
  $("request-id").value = id;
  const path = `/requests/${encodeURIComponent(id)}`;
  const told = await ask(path);
  if (!told) {
    fill("found");
    return;
  }
  const { record, titles } = told;
  const facts = Object.entries(record).filter(([name]) => !["recommendations", "scores"].includes(name));
  const movies = make("ol", {}, ...record.recommendations.map((movie, place) =>
    make("li", { "data-movie": movie }, `${place + 1}. ${titles[movie]} `, make("small", {}, fixed(record.scores[place], 4)))));
  const outcome = make("p", { role: "status", id: "outcome" });
  const personal = record.status === "ok";
  found(make("h3", {}, `Request ${id}`),
    make("p", {},
      make("button", { type: "button", id: "replay", onclick: () => replay(path, outcome) }, "Replay"), " ",
      personal ? make("button", { type: "button", id: "why", onclick: () => why(path, movies) }, "Why these movies") : null),
    outcome, movies,
    make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name),
      make("dd", {}, value !== null && typeof value === "object" ? JSON.stringify(value) : String(value))]),
      make("dt", {}, "found in"), make("dd", {}, told.found_in)));
}

async function replay(path, outcome) {
  outcome.textContent = "making the list again …";
  const told = await ask(`${path}/replay`, "POST");
  outcome.className = told && told.same === false ? "different" : "";
  outcome.textContent = told ? told.says : "";
}

async function why(path, movies) {
  const told = await ask(`${path}/why`);
  if (!told || !told.because) return;
  for (const item of movies.children) {
    item.querySelector(".why")?.remove();
    const pulled = told.because[item.dataset.movie] ?? [];
    item.append(make("span", { class: "why" }, pulled.length ? ` because of ${pulled.join(", ")}` : " newer than the model"));
  }
}

$("find-user").addEventListener("submit", (event) => { event.preventDefault(); user($("user-id").value); });
$("find-request").addEventListener("submit", (event) => { event.preventDefault(); record($("request-id").value); });

let paused = false;
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
});

// -- the stream ---------------------------------------------------------------------------------

function state(name, words) {
  if ($("state").dataset.state === name) return; // a status is spoken: only what is new
  $("state").dataset.state = name;
  $("state").textContent = words;
}

let stream = null;
function listen() {
  stream = new EventSource("/events");
  stream.addEventListener("open", () => state("live", "live"));
  stream.addEventListener("error", () => {
    state("lost", "connection lost, trying again …");
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000); // refused, as by a full house: the browser gives up
  });
  for (const [name, draw] of Object.entries(show)) {
    stream.addEventListener(name, (event) => draw(JSON.parse(event.data)));
  }
}
listen();
