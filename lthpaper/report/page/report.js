// The runs behind a figure: a table that is made when it is opened, and a panel for the run that a link names.
const { figures, where, runs } = JSON.parse(document.getElementById("runs").textContent);
const make = (tag, text = "", looks = {}) => Object.assign(document.createElement(tag), { textContent: text }, looks);
const number = (value, digits) => value === null || value === undefined ? "" : value.toFixed(digits);

// --- points ---

const COLUMNS = {
  network: p => p.network, data: p => p.data, epochs: p => p.epochs, setting: p => p.setting,
  "rewound to": p => p.rewind, "mask from lr": p => p.pretraining_lr, lr: p => p.lr,
  sparsity: p => p.sparsity ? p.sparsity.toFixed(3) : "0",
  "accuracy (%)": accuracy,
};

// Mean and deviation are of the seeds that did not diverge: so it says how many did.
function accuracy(p) {
  const mean = number(p.mean, 1) + (p.deviation === null ? "" : ` ± ${number(p.deviation, 1)}`);
  const lost = p.diverged ? `${p.diverged} of ${p.runs.length} diverged` : "";
  return mean && lost ? `${mean} (${lost})` : mean + lost;
}

function pointsOf(name) {
  const points = figures[name];
  const shown = Object.entries(COLUMNS).filter(([, of]) => points.some(p => ![null, undefined, ""].includes(of(p))));
  const table = make("table"), head = table.createTHead().insertRow();
  for (const word of [...shown.map(([word]) => word), "runs, by seed"]) head.append(make("th", word, { scope: "col" }));
  const body = table.createTBody();
  for (const [k, point] of points.entries()) {
    const row = body.insertRow();
    row.id = `${name}-point-${k}`;
    row.tabIndex = -1;
    for (const [, of] of shown) row.insertCell().textContent = of(point) ?? "";
    const cell = row.insertCell();
    for (const digest of point.runs) {
      cell.append(make("a", runs[digest].seed, { href: `#run-${digest}`, title: `run ${digest}` }), " ");
    }
    cell.append(make("small", point.missing ? `${point.missing} missing` : ""));
  }
  return table;
}

function fill(details) {
  if (details.querySelector("table")) return;
  const name = details.dataset.figure, box = make("div", "", { className: "table", tabIndex: 0 });
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "The runs behind this figure");
  box.append(pointsOf(name));
  details.append(box);
}

for (const details of document.querySelectorAll("details.behind")) {
  details.addEventListener("toggle", () => details.open && fill(details));
}

function goToPoint(id) { // its table may not be there yet
  const details = document.querySelector(`details[data-figure="${id.split("-point-")[0]}"]`);
  if (!details) return;
  details.open = true;
  fill(details);
  const row = document.getElementById(id);
  row?.scrollIntoView({ block: "center" });
  row?.focus();
}

document.addEventListener("click", event => {
  const mark = event.target.closest?.("a.mark");
  if (!mark) return;
  event.preventDefault();
  goToPoint(mark.hash.slice(1));
});

// --- one run ---

const dialog = document.getElementById("run");
let cameFrom = null;

function curve(points) {
  const wide = 420, tall = 170, [left, foot] = [38, 24];
  const last = Math.max(...points.map(p => p[0])), low = Math.floor(Math.min(...points.map(p => p[1])) / 10) * 10;
  const x = epoch => left + (epoch / last) * (wide - left - 8), y = acc => 8 + ((100 - acc) / (100 - low)) * (tall - foot - 8);
  const ticks = [low, (low + 100) / 2, 100].map(v =>
    `<text x="${left - 5}" y="${y(v) + 4}" text-anchor="end">${v}</text><path class="rule" d="M${left} ${y(v)}H${wide - 8}"/>`);
  const line = points.map(([e, a], k) => `${k ? "L" : "M"}${x(e).toFixed(1)} ${y(a).toFixed(1)}`).join("");
  const [end] = points.slice(-1);
  return `<svg viewBox="0 0 ${wide} ${tall}" role="img" aria-label="Test accuracy by epoch: ${end[1]} % after epoch ${end[0]}">
    ${ticks.join("")}<path class="line" d="${line}"/>
    <text x="${x(0)}" y="${tall - 6}">0</text><text x="${x(last)}" y="${tall - 6}" text-anchor="end">epoch ${last}</text></svg>`;
}

function show(digest) {
  const run = runs[digest];
  if (!run) return;
  const list = make("dl"), accuracy = run.accuracy === null ? "it diverged" : `${number(run.accuracy, 2)} %`;
  const about = { digest, setting: run.setting, recipe: run.recipe, seed: run.seed, sparsity: run.sparsity,
    "test accuracy": accuracy, "training took": `${run.seconds} s`, "where": where[run.where] };
  for (const [word, value] of Object.entries(about)) list.append(make("dt", word), make("dd", value));
  const picture = make("div");
  if (run.curve.length > 1) picture.innerHTML = curve(run.curve);
  const close = make("button", "Close", { onclick: () => dialog.close(), autofocus: true });
  dialog.replaceChildren(make("h2", run.name, { id: "run-name" }), picture, list, close);
  if (!dialog.open) dialog.showModal();
}

document.addEventListener("click", event => {
  const link = event.target.closest?.("a[href^='#run-']");
  if (!link) return;
  event.preventDefault();
  cameFrom = link;
  history.replaceState(null, "", link.hash);
  show(link.hash.slice(5));
});
dialog.addEventListener("close", () => {
  history.replaceState(null, "", location.pathname + location.search);
  cameFrom?.focus();
});

function goTo() {
  if (location.hash.startsWith("#run-")) show(location.hash.slice(5));
  else if (location.hash.includes("-point-")) goToPoint(location.hash.slice(1));
}

window.addEventListener("hashchange", goTo);
goTo();

// On a narrow screen the contents start folded: they would fill it.
if (matchMedia("(max-width: 70em)").matches) document.querySelector("nav details").open = false;
