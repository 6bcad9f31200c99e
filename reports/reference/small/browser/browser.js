// The clip player: frames, and below them the curves of Eq. 7, 8 and 9, which it computes from the stored R and L as the
// kit does. Plain JavaScript, no library. A data set hands itself over by calling addDataSet (browser/<data set>.js).
"use strict";

const dataSets = {};

function addDataSet(found) {
  found.columns = found.columns.map(numbersOf);
  found.labels = found.labels === null ? null : bytesOf(found.labels);
  dataSets[found.name] = found;
}

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function numbersOf(text) {
  return new Float64Array(bytesOf(text).buffer);
}


// -- the paper's last page -------------------------------------------------------------------------------------------

// norm(.) of Eq. 9: each clip's values from 0 to 1; equal ones (up to rounding) become zeros, as in lib/scoring.py.
function normalise(values, clips) {
  const out = new Float64Array(values.length);
  for (const { start, length } of clips) {
    let low = Infinity, high = -Infinity;
    for (let i = start; i < start + length; i++) {
      low = Math.min(low, values[i]);
      high = Math.max(high, values[i]);
    }
    const flat = high - low <= 1e-12 * Math.max(Math.abs(low), Math.abs(high));
    for (let i = start; i < start + length; i++) out[i] = flat ? 0 : (values[i] - low) / (high - low);
  }
  return out;
}

// Eq. 9: S = norm(R) + lambda_L norm(L). Of a model without flows S is norm(R). Returns the terms too.
function totalScore(set, model, lambda) {
  const R = normalise(set.columns[model.R], set.clips);
  if (model.L === null) return { R, L: null, S: R };
  const L = normalise(set.columns[model.L], set.clips);
  return { R, L, S: R.map((value, i) => value + lambda * L[i]) };
}

// Area under the ROC curve over all frames: the share of pairs of an abnormal and a normal frame in which the abnormal one
// scores higher, ties counting half. By ranks, equal scores sharing their mean rank.
function areaUnderCurve(scores, labels) {
  const order = orderOf(scores);
  let ranks = 0, abnormal = 0;
  for (let i = 0; i < order.length;) {
    let end = i;
    while (end < order.length && scores[order[end]] === scores[order[i]]) end++;
    for (let j = i; j < end; j++) {
      if (labels[order[j]]) {
        ranks += (i + 1 + end) / 2;
        abnormal++;
      }
    }
    i = end;
  }
  const normal = order.length - abnormal;
  return abnormal && normal ? (ranks - abnormal * (abnormal + 1) / 2) / (abnormal * normal) : null;
}

function orderOf(scores) {
  return Uint32Array.from(scores, (_, i) => i).sort((a, b) => scores[a] - scores[b]);
}

// Frames that score at least the threshold are called abnormal. A share of nothing is null.
function precisionAndRecall(scores, labels, threshold) {
  let called = 0, right = 0, abnormal = 0;
  for (let i = 0; i < scores.length; i++) {
    called += scores[i] >= threshold;
    right += scores[i] >= threshold && labels[i];
    abnormal += labels[i];
  }
  return { precision: called ? right / called : null, recall: abnormal ? right / abnormal : null };
}

// The score at which as large a share of normal frames is called abnormal as of abnormal ones is missed, or nearly.
function equalErrorThreshold(scores, labels) {
  const order = orderOf(scores), abnormal = labels.reduce((sum, label) => sum + label, 0);
  let called = abnormal, wrong = order.length - abnormal, best = 0, smallest = Infinity;
  for (let i = 0; i < order.length;) {
    const value = scores[order[i]];
    const gap = Math.abs(wrong / (order.length - abnormal) - (1 - called / abnormal));
    if (gap < smallest) [smallest, best] = [gap, value];
    for (; i < order.length && scores[order[i]] === value; i++) {
      if (labels[order[i]]) called--; else wrong--;
    }
  }
  return best;
}


// -- what is shown ---------------------------------------------------------------------------------------------------

const FPS = 12;
const LARGEST_LAMBDA = 5;
const CURVES = {
  R: "reconstruction error (Eq. 7)",
  L: "negative log-likelihood (Eq. 8)",
  S: "total, norm(R) + λL norm(L) (Eq. 9)",
};

const shown = { set: null, clip: null, models: [], frame: 0, lambda: 1, threshold: 0, terms: [], playing: null };
let panels = [];         // { kind, source, title, canvas }
let sheets = new Map();  // address -> promise of an image, of the clip that is shown
let turn = 0;            // of drawing: only the latest is finished

const part = (name) => document.getElementById(`browser-${name}`);

function start() {
  const sets = Object.values(dataSets);
  if (!sets.length) return;
  fill(part("dataset"), sets.map((set) => [set.name, set.title + (set.subset ? " (subset)" : "")]));
  part("dataset").onchange = () => chooseDataSet(dataSets[part("dataset").value]);
  part("clip").onchange = () => chooseClip(part("clip").value);
  part("model").onchange = chooseModels;
  part("against").onchange = chooseModels;
  part("paths").onclick = comparePaths;
  part("view").onchange = () => { makePanels(); show(shown.frame); };
  part("outline").onchange = () => show(shown.frame);
  part("play").onclick = () => (shown.playing ? pause() : play());
  part("back").onclick = () => { pause(); show(shown.frame - 1); };
  part("forward").onclick = () => { pause(); show(shown.frame + 1); };
  part("scrub").oninput = () => { pause(); show(Number(part("scrub").value)); };
  part("lambda").oninput = () => { shown.lambda = Number(part("lambda").value); recompute(); };
  part("threshold").oninput = () => { shown.threshold = Number(part("threshold").value); tellNumbers(); drawThreshold(); };
  part("reset").onclick = chooseModels;
  part("curves").onpointerdown = seekByPointer;
  part("curves").onpointermove = (event) => { if (event.buttons & 1) seekByPointer(event); };
  part("inside").hidden = false;
  chooseDataSet(sets.find((set) => Object.keys(set.pictures).length) || sets[0]);
}

function fill(select, choices) {
  select.replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
}

function chooseDataSet(set) {
  shown.set = set;
  part("dataset").value = set.name;
  part("said").textContent = set.said;
  fill(part("clip"), set.clips.map((clip) => [clip.name, clip.title + (hasPictures(clip) ? "" : ", curves only")]));
  fill(part("model"), set.models.map((model) => [model.id, model.title]));
  fill(part("against"), [["", "nothing"], ...set.models.map((model) => [model.id, model.title])]);
  const whole = set.models.find((model) => model.id.startsWith("app_intensity_mot/"));
  part("model").value = (whole || set.models.at(-1)).id;
  part("paths").hidden = !(modelLike("one_path/") && modelLike("two_path/"));
  shown.clip = set.clips.find((clip) => clip.name === set.first) || set.clips[0];
  part("clip").value = shown.clip.name;
  chooseModels();
  const abnormal = rangesOf(set.labels, shown.clip);  // begin where there is something to see
  chooseClip(shown.clip.name, abnormal.length ? Math.floor((abnormal[0][0] + abnormal[0][1]) / 2) : 0);
}

function modelLike(start) {
  return shown.set.models.find((model) => model.id.startsWith(start));
}

function hasPictures(clip) {
  return clip.name in shown.set.pictures;
}

function comparePaths() {
  part("model").value = modelLike("two_path/").id;
  part("against").value = modelLike("one_path/").id;
  chooseModels();
}

// The model, the one it is compared with if any, and the sliders as they are on record.
function chooseModels() {
  const named = (id) => shown.set.models.find((model) => model.id === id);
  shown.models = [named(part("model").value), named(part("against").value)].filter(Boolean);
  const withFlows = shown.models.find((model) => model.L !== null);
  shown.lambda = withFlows ? withFlows.lambda_L : 0;
  part("lambda").max = Math.max(LARGEST_LAMBDA, shown.lambda);
  part("lambda").disabled = !withFlows;
  part("lambda").value = shown.lambda;
  shown.threshold = null;
  makePanels();
  recompute();
}

function chooseClip(name, frame = 0) {
  shown.clip = shown.set.clips.find((clip) => clip.name === name);
  sheets = new Map();
  part("scrub").max = shown.clip.length - 1;
  part("still").hidden = !shown.clip.nothing_happens;
  part("still-why").textContent = shown.clip.nothing_happens || "";
  makePanels();
  drawCurves();
  show(frame);
}


// -- frames ----------------------------------------------------------------------------------------------------------

function makePanels() {
  const pictures = shown.set.pictures[shown.clip.name], overlay = part("view").value === "overlay";
  panels = [];
  if (pictures) {
    const sources = new Map(shown.models.map((m) => [`${m.autoencoder}/seed${m.seed}`, m]));
    const several = sources.size > 1;
    if (!overlay) panels.push({ kind: "input", title: "Input" });
    for (const [source, model] of sources) {
      const whose = several ? `, ${model.autoencoder === "one_path" ? "one path" : "two paths"}` : "";
      const add = (kind, title) => {
        if (pictures.sheets[`${kind}/${source}`]) panels.push({ kind, source, title: title + whose });
      };
      if (overlay) {
        add("error", "Error on the input");
      } else {
        add("reconstruction", "Reconstruction");
        add("error", "Error");
      }
    }
  }
  const figures = panels.map((panel) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const { width, height } = shown.set.tile, larger = Math.max(1, Math.round(480 / width));
    panel.canvas = document.createElement("canvas");
    panel.canvas.width = width * larger;
    panel.canvas.height = height * larger;
    panel.canvas.setAttribute("role", "img");
    panel.canvas.setAttribute("aria-label", panel.title);
    panel.canvas.dataset.kind = panel.kind;
    caption.textContent = panel.title;
    figure.append(panel.canvas, caption);
    return figure;
  });
  part("frames").replaceChildren(...figures);
  part("frames").dataset.count = panels.length;
  part("missing").hidden = panels.length > 0;
  part("missing-why").textContent = shown.set.said;
  part("scale").hidden = !panels.some((panel) => panel.kind === "error");
  part("scale-end").textContent = pictures ? String(shown.set.error_scale) : "";
  part("outline").disabled = !(pictures && shown.set.masks);
}

// Where a frame of a panel lies: the address of its sheet.
function sheetOf(kind, source, frame) {
  const key = kind === "input" ? "input" : `${kind}/${source}`;
  return shown.set.pictures[shown.clip.name].sheets[key][Math.floor(frame / shown.set.tile.per_sheet)];
}

function load(address) {
  if (!sheets.has(address)) {
    const image = new Image();
    image.src = address;
    sheets.set(address, image.decode().then(() => image));
  }
  return sheets.get(address);
}

// Shows one frame: waits for its pictures, then moves pictures, cursor and numbers together.
async function show(frame) {
  const mine = ++turn;
  shown.frame = Math.min(Math.max(frame, 0), shown.clip.length - 1);
  const wanted = panels.map((panel) => {
    const layers = [sheetOf(panel.kind, panel.source, shown.frame)];
    if (part("view").value === "overlay") layers.unshift(sheetOf("input", "", shown.frame));
    return layers;
  });
  const images = await Promise.all(wanted.map((layers) => Promise.all(layers.map(load))));
  if (mine !== turn) return;
  panels.forEach((panel, i) => drawFrame(panel, images[i]));
  const label = shown.set.labels === null ? "" : shown.set.labels[shown.clip.start + shown.frame] ? "abnormal" : "normal";
  part("scrub").value = shown.frame;
  part("scrub").setAttribute("aria-valuetext", `frame ${shown.frame}${label && ", " + label}`);
  part("now").textContent = `frame ${shown.frame} of 0 to ${shown.clip.length - 1}`;
  part("label").textContent = label;
  part("label").dataset.label = label;
  for (const line of part("curves").querySelectorAll(".cursor")) {
    line.setAttribute("x1", shown.frame);
    line.setAttribute("x2", shown.frame);
  }
  tellValues();
  const whose = shown.models.map((model) => model.title).join(" against ");
  part("paper").textContent = `${shown.set.title}, ${shown.clip.title}, frame ${shown.frame}${label && ` (${label})`}. ${whose}.`;
  part("inside").dataset.frame = shown.frame;
}

function drawFrame(panel, images) {
  const context = panel.canvas.getContext("2d"), { width, height } = panel.canvas, { set } = shown;
  const { width: w, height: h, across, per_sheet } = set.tile, place = shown.frame % per_sheet;
  images.forEach((image, layer) => {
    // On top of the input, the colours of the error work like coloured glass: white leaves it as it is.
    context.globalCompositeOperation = layer ? "multiply" : "source-over";
    context.drawImage(image, (place % across) * w, Math.floor(place / across) * h, w, h, 0, 0, width, height);
  });
  context.globalCompositeOperation = "source-over";
  const outlines = set.pictures[shown.clip.name].outlines[shown.frame];
  if (!outlines || !part("outline").checked) return;
  context.setTransform(width / set.size.width, 0, 0, height / set.size.height, 0, 0);
  context.beginPath();
  for (const points of outlines) {
    context.moveTo(points[0] + 0.5, points[1] + 0.5);
    for (let i = 2; i < points.length; i += 2) context.lineTo(points[i] + 0.5, points[i + 1] + 0.5);
    context.closePath();
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  for (const [colour, thick] of [["#000", 5], ["#ffd400", 2.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.stroke();
  }
}

function play() {
  const next = async () => {
    await show(shown.frame + 1 < shown.clip.length ? shown.frame + 1 : 0);
    if (shown.playing) shown.playing = setTimeout(next, 1000 / (FPS * Number(part("speed").value)));
  };
  shown.playing = setTimeout(next, 0);
  part("play").textContent = "Pause";
}

function pause() {
  clearTimeout(shown.playing);
  shown.playing = null;
  part("play").textContent = "Play";
}


// -- curves ----------------------------------------------------------------------------------------------------------

function recompute() {
  shown.terms = shown.models.map((model) => totalScore(shown.set, model, shown.lambda));
  const top = 1 + (part("lambda").disabled ? 0 : shown.lambda);
  part("threshold").max = top;
  part("threshold").disabled = shown.set.labels === null;
  if (shown.threshold === null) {
    shown.threshold = shown.set.labels === null ? top : equalErrorThreshold(shown.terms[0].S, shown.set.labels);
  }
  shown.threshold = Math.min(shown.threshold, top);
  part("threshold").value = shown.threshold;
  tellNumbers();
  drawCurves();
  show(shown.frame);
}

// The lines of one curve: values of the clip, a class for the look, a name for the legend.
function linesOf(term) {
  const { set, clip, models, terms } = shown, own = (values) => values.subarray(clip.start, clip.start + clip.length);
  const lines = [];
  models.forEach((model, i) => {
    const name = models.length > 1 ? model.title : "", look = i ? "second" : "";
    if (term === "S") {
      if (model.L !== null) {
        lines.push({ values: own(terms[i].R), look: `R thin ${look}`, name: `norm(R)${name && ", " + name}` });
        const weighted = own(terms[i].L).map((value) => shown.lambda * value);
        lines.push({ values: weighted, look: `L thin ${look}`, name: `λL norm(L)${name && ", " + name}` });
      }
      lines.push({ values: own(terms[i].S), look: `S ${look}`, name: `S${name && ", " + name}` });
    } else if (model[term] !== null) {
      lines.push({ values: own(set.columns[model[term]]), look: `${term} ${look}`, name });
    }
  });
  return lines;
}

function drawCurves() {
  if (!shown.clip || !shown.terms.length) return;
  part("curves").replaceChildren(...Object.keys(CURVES).map((term) => makeCurve(term, linesOf(term))).filter(Boolean));
  drawThreshold();
}

function makeCurve(term, lines) {
  if (!lines.length) return null;
  const { clip, set } = shown, last = Math.max(clip.length - 1, 1);
  let low = Math.min(...lines.map((line) => Math.min(...line.values)));
  let high = Math.max(...lines.map((line) => Math.max(...line.values)));
  if (term === "S") [low, high] = [0, Math.max(Number(part("threshold").max), high)];
  const y = (value) => (high > low ? 1 - (value - low) / (high - low) : 1);

  const svg = svgElement("svg", { viewBox: `0 0 ${last} 1`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${term} of each frame of clip ${clip.name}` });
  for (const [from, to] of rangesOf(set.labels, clip)) {
    svg.append(svgElement("rect", { class: "abnormal", x: Math.max(from - 0.5, 0), y: 0, height: 1,
      width: Math.min(to - 0.5, last) - Math.max(from - 0.5, 0) }));
  }
  for (const { values, look } of lines) {
    const points = Array.from(values, (value, i) => `${i},${y(value).toFixed(5)}`).join(" ");
    svg.append(svgElement("polyline", { class: look.trim(), points }));
  }
  if (term === "S") svg.append(svgElement("line", { class: "threshold", x1: 0, x2: last }));
  svg.append(svgElement("line", { class: "cursor", x1: shown.frame, x2: shown.frame, y1: 0, y2: 1 }));

  const box = document.createElement("div"), head = document.createElement("p"), scale = document.createElement("div");
  box.className = "curve";
  box.dataset.term = term;
  box.dataset.high = high;
  const name = document.createElement("strong"), words = document.createElement("span"), now = document.createElement("span");
  name.textContent = term;
  words.textContent = CURVES[term];
  words.className = "soft";
  now.className = "value";
  head.append(name, words, now);
  for (const { look, name: text } of lines) {
    if (!text) continue;
    const key = document.createElement("span");
    key.className = `key-of ${look}`;
    key.textContent = text;
    head.append(key);
  }
  scale.className = "scale soft";
  scale.innerHTML = `<span>${inWords(high)}</span><span>${inWords(low)}</span>`;
  box.append(head, scale, svg);
  return box;
}

function svgElement(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// Ranges of abnormal frames of a clip, counted from its first frame: [from, to), none for a set without labels.
function rangesOf(labels, clip) {
  const ranges = [];
  for (let i = 0; labels !== null && i < clip.length; i++) {
    if (!labels[clip.start + i]) continue;
    if (ranges.length && ranges.at(-1)[1] === i) ranges.at(-1)[1] = i + 1;
    else ranges.push([i, i + 1]);
  }
  return ranges;
}

function drawThreshold() {
  const box = part("curves").querySelector("[data-term=S]"), line = box && box.querySelector(".threshold");
  if (!line) return;
  const at = 1 - shown.threshold / Number(box.dataset.high);
  line.setAttribute("y1", at);
  line.setAttribute("y2", at);
}

function seekByPointer(event) {
  const svg = part("curves").querySelector("svg");
  if (!svg || event.button > 0) return;
  const { left, width } = svg.getBoundingClientRect();
  pause();
  show(Math.round((event.clientX - left) / width * (shown.clip.length - 1)));
  if (event.type === "pointerdown") part("curves").setPointerCapture(event.pointerId);
  event.preventDefault();
}


// -- numbers ---------------------------------------------------------------------------------------------------------

function inWords(value) {
  if (value === null) return "–";
  return Math.abs(value) >= 1000 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3);
}

// The values of the curves at the frame that is shown.
function tellValues() {
  const at = shown.clip.start + shown.frame;
  for (const box of part("curves").children) {
    const { term } = box.dataset;
    const values = shown.models.map((model, i) =>
      term === "S" ? shown.terms[i].S[at] : model[term] === null ? null : shown.set.columns[model[term]][at]);
    box.querySelector(".value").textContent = values.filter((v) => v !== null).map(inWords).join(" against ");
  }
}

function tellNumbers() {
  part("lambda-now").textContent = part("lambda").disabled ? "no flows" : shown.lambda.toFixed(2);
  part("threshold-now").textContent = part("threshold").disabled ? "no labels" : shown.threshold.toFixed(3);
  const rows = shown.models.map((model, i) => {
    const row = document.createElement("tr"), cells = [];
    const name = document.createElement("th"), record = document.createElement("a");
    name.scope = "row";
    name.textContent = model.title + (model.old ? " (out of date)" : "");
    record.href = model.run;
    record.textContent = model.auc === null ? model.why_no_auc : model.auc.toFixed(3);
    if (model.auc === null) {
      cells.push("–", record, "–", "–");
    } else {
      const { S } = shown.terms[i], { precision, recall } = precisionAndRecall(S, shown.set.labels, shown.threshold);
      cells.push(inWords(areaUnderCurve(S, shown.set.labels)), record, inWords(precision), inWords(recall));
    }
    row.append(name, ...cells.map((content) => {
      const cell = document.createElement("td");
      cell.append(content);
      return cell;
    }));
    return row;
  });
  part("numbers").replaceChildren(...rows);
}

document.addEventListener("DOMContentLoaded", start);
