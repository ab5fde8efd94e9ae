"use strict";
// Thresholds are counted in cells of 1/data.cells; an arm's arrays have an entry for each of them.
if (document.getElementById("explorer-data")) {
  const MARGIN = { left: 44, right: 12, top: 10, bottom: 26 };
  const HEIGHT = 240;
  const MANTISSAS = [1, 1.1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 2.8, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9];

  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const $ = (name) => document.getElementById(`explorer-${name}`);
  // round numbers that are evenly spaced on a log scale, from 0.1 % to 50 %
  const prevalences = [0.001, 0.01, 0.1]
    .flatMap((decade) => MANTISSAS.map((mantissa) => Number((decade * mantissa).toPrecision(3))))
    .filter((value) => value <= 0.5);
  const state = { arm: data.arms[0], cell: data.cells / 2, prevalence: 0.5 };

  const threshold = () => (state.cell / data.cells).toFixed(3);
  const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;
  const short = (share) => `${Number((100 * share).toPrecision(3))}\u00a0%`;
  const range = ([low, high], digits = 1) => `2σ: ${(100 * low).toFixed(digits)}–${percent(high, digits)}`;
  const count = (number, digits) =>
    number.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const purityOf = (completeness, fpr) => {
    const right = state.prevalence * completeness;
    const called = right + (1 - state.prevalence) * fpr;
    return called > 0 ? right / called : NaN;
  };

  /** The scores at a cell; purity is NaN where nothing is called. */
  function scores(cell) {
    const { tp, fp, positives, negatives, limits } = state.arm;
    const completeness = tp[cell] / positives;
    const fpr = fp[cell] / negatives;
    const purity = purityOf(completeness, fpr);
    const f1 = tp[cell] > 0 ? (2 * purity * completeness) / (purity + completeness) : 0;
    const [completenessLimits, fprLimits] = [limits.completeness, limits.fpr].map(([low, high]) => [low[cell], high[cell]]);
    const purityLimits = [0, 1].map((end) => purityOf(completenessLimits[end], fprLimits[1 - end]));
    return { completeness, fpr, purity, f1, completenessLimits, fprLimits, purityLimits };
  }

  function showScores(now) {
    const none = Number.isNaN(now.purity);
    $("completeness").textContent = percent(now.completeness);
    $("completeness-limits").textContent = range(now.completenessLimits);
    $("purity").textContent = none ? "—" : percent(now.purity);
    $("purity-limits").textContent = none ? "nothing is called" : range(now.purityLimits);
    $("fpr").textContent = percent(now.fpr, 2);
    $("fpr-limits").textContent = range(now.fprLimits, 2);
    $("f1").textContent = now.f1.toFixed(3);
    $("f1-limits").textContent = "harmonic mean of completeness and purity";
  }

  function fill(table, tp, fp, positives, negatives, digits = 0) {
    const cells = { tp, fp, fn: positives - tp, tn: negatives - fp };
    for (const [name, value] of Object.entries({ ...cells, positives, negatives })) {
      table.querySelector(`[data-cell=${name}]`).textContent = count(value, name in cells ? digits : 0);
    }
  }

  /** Of how many galaxies a survey is counted: of so many that a rare class has ten at least. */
  function surveySize() {
    let total = 1e4;
    while (total * state.prevalence < 10) total *= 10;
    return total;
  }

  /** Counts are rounded before they are added and subtracted, so that those shown add up. */
  function showCounts(now) {
    const { tp, fp, positives, negatives } = state.arm;
    fill($("test"), tp[state.cell], fp[state.cell], positives, negatives);
    const total = surveySize();
    const rare = Math.round(total * state.prevalence);
    const rest = total - rare;
    const exact = [rare * now.completeness, rest * now.fpr];
    const small = [...exact, rare - exact[0], rest - exact[1]].filter((number) => number < 9.5);
    const digits = small.some((number) => Math.abs(number - Math.round(number)) >= 0.05) ? 1 : 0;
    const [rightly, wrongly] = exact.map((number) => Math.round(number * 10 ** digits) / 10 ** digits);
    fill($("survey"), rightly, wrongly, rare, rest, digits);
    $("survey").caption.textContent = `Of ${count(total, 0)} galaxies at this share of ${data.words.many}`;
    $("summary").textContent =
      `Of ${count(total, 0)} galaxies, of which ${count(rare, 0)} are ${data.words.many}, ${state.arm.name} calls ` +
      `${count(rightly + wrongly, digits)} ${data.words.one} at a threshold of ${threshold()}: ` +
      `${count(rightly, digits)} rightly and ${count(wrongly, digits)} wrongly.`;
  }

  function draw(name, attributes, text = "") {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    return node;
  }

  function curve(values, x, y) {
    let path = "";
    values.forEach((value, cell) => {
      if (!Number.isNaN(value)) path += `${path ? "L" : "M"}${x(cell).toFixed(1)} ${y(value).toFixed(1)}`;
    });
    return path;
  }

  function showPlot(now) {
    const plot = $("plot");
    const width = plot.clientWidth;
    const x = (cell) => MARGIN.left + (cell / data.cells) * (width - MARGIN.left - MARGIN.right);
    const y = (share) => MARGIN.top + (1 - share) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const all = Array.from({ length: data.cells + 1 }, (_, cell) => scores(cell));
    const nodes = [];
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      nodes.push(draw("line", { class: "grid", x1: x(0), x2: x(data.cells), y1: y(share), y2: y(share) }));
      nodes.push(draw("text", { x: x(0) - 8, y: y(share) + 4, "text-anchor": "end" }, percent(share, 0)));
      nodes.push(draw("text", { x: x(share * data.cells), y: HEIGHT - 6, "text-anchor": "middle" }, String(share)));
    }
    nodes.push(draw("line", { class: "now", x1: x(state.cell), x2: x(state.cell), y1: y(1), y2: y(0) }));
    for (const name of ["completeness", "purity"]) {
      nodes.push(draw("path", { class: name, d: curve(all.map((one) => one[name]), x, y) }));
      if (!Number.isNaN(now[name])) nodes.push(draw("circle", { class: name, cx: x(state.cell), cy: y(now[name]), r: 5 }));
    }
    plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    plot.setAttribute("height", HEIGHT);
    plot.replaceChildren(...nodes);
  }

  /** A list item for each image of an arm, the highest p_m first. */
  function makeSamples(arm) {
    return arm.samples.map(({ image, name, p: shown, positive, cell }) => {
      const [item, button, picture] = ["li", "button", "img"].map((tag) => document.createElement(tag));
      const [p, mark, file] = ["p", "mark", "name"].map((kind) => {
        const line = document.createElement("span");
        line.className = kind;
        return line;
      });
      p.textContent = shown;
      file.textContent = name;
      button.className = "thumb";
      button.type = "button";
      picture.src = data.images[image];
      picture.alt = `${positive ? "" : "not "}${data.words.one}, p_m ${shown}, ${name}`;
      button.append(picture);
      item.append(button, p, mark, file);
      return { item, mark, positive, cell };
    });
  }

  function showSamples() {
    const groups = { called: [], rest: [] };
    const wrong = { called: 0, rest: 0 };
    for (const { item, mark, positive, cell } of state.samples) {
      const group = cell >= state.cell ? "called" : "rest";
      const right = (group === "called") === positive;
      mark.textContent = right ? "✓ right" : "✗ wrong";
      item.classList.toggle("wrong", !right);
      wrong[group] += right ? 0 : 1;
      groups[group].push(item);
    }
    for (const [name, items] of Object.entries(groups)) {
      $(name).replaceChildren(...items);
      $(`${name}-note`).textContent = `${items.length} of ${state.samples.length} images, ${wrong[name]} wrong`;
    }
    $("images").hidden = state.samples.length === 0;
  }

  function show() {
    const now = scores(state.cell);
    const nearest = prevalences.reduce((best, value, index) => {
      const distance = (at) => Math.abs(Math.log(prevalences[at] / state.prevalence));
      return distance(index) < distance(best) ? index : best;
    }, 0);
    $("threshold").value = state.cell;
    $("threshold").setAttribute("aria-valuetext", threshold());
    $("threshold-shown").textContent = threshold();
    $("prevalence").value = nearest;
    $("prevalence").setAttribute("aria-valuetext", short(state.prevalence));
    $("prevalence-shown").textContent = short(state.prevalence);
    showScores(now);
    showCounts(now);
    showPlot(now);
    showSamples();
  }

  function change(values) {
    Object.assign(state, values);
    show();
  }

  function chooseArm() {
    const arm = data.arms[Number($("arm").value)];
    change({ arm, samples: makeSamples(arm) });
  }

  $("prevalence").max = prevalences.length - 1;
  $("threshold").addEventListener("input", (event) => change({ cell: Number(event.target.value) }));
  $("prevalence").addEventListener("input", (event) => change({ prevalence: prevalences[event.target.value] }));
  $("arm").addEventListener("change", chooseArm);
  for (const button of document.querySelectorAll("#explorer .presets button")) {
    const { prevalence, threshold: cut } = button.dataset;
    const values = cut ? { cell: Math.round(Number(cut) * data.cells) } : { prevalence: Number(prevalence) };
    button.addEventListener("click", () => change(values));
  }
  $("body").hidden = false;
  chooseArm();
  new ResizeObserver(() => showPlot(scores(state.cell))).observe($("plot"));
}
