// The lines of all machines around the cursor; only those that are seen are in the document.
const Log = {
  height: 20, // of a line, in CSS pixels; axis.css has the same number
  shown: [], // numbers of lines that the filters let through
  current: -1, // the last of them that is not after the cursor

  start() {
    Log.pane = document.getElementById("axis-log");
    Log.list = document.getElementById("axis-lines");
    Log.filter = document.getElementById("axis-filter");
    Log.level = document.getElementById("axis-level");
    Log.where = document.getElementById("axis-machine");
    Log.source = document.getElementById("axis-source");
    Log.pane.addEventListener("scroll", Log.draw);
    new ResizeObserver(() => Log.draw()).observe(Log.pane);
    for (const one of [Log.level, Log.where, Log.source]) one.addEventListener("change", Log.choose);
    Log.filter.addEventListener("input", Log.choose);
    Log.list.addEventListener("click", (event) => {
      const line = event.target.closest("[data-line]");
      if (line && !String(getSelection())) Axis.moveTo(Axis.data.lines.t[Number(line.dataset.line)]);
    });
    Axis.listeners.push((what) => {
      if (what === "data") Log.arrange();
      if (what === "cursor") Log.follow();
    });
  },

  arrange() {
    Log.marked = new Set(Axis.data.marks);
    Log.texts = []; // of lines as the filter reads them, once it did
    const options = (select, words) => {
      const kept = select.value;
      select.replaceChildren(...[["", `all ${select.dataset.noun}`], ...words].map(([value, text]) => new Option(text, value)));
      select.value = kept;
    };
    options(Log.where, [...Axis.data.machines.map((name, index) => [String(index), name]), ["-1", "orchestrator"]]);
    options(Log.source, Axis.data.sources.map((name, index) => [String(index), name]));
    Log.choose();
  },

  choose() {
    const { t, m, s, v, n, x, names } = Axis.data.lines;
    const words = Log.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const least = Number(Log.level.value);
    const shown = [];
    for (let i = 0; i < t.length; i++) {
      const story = Log.level.value === "story";
      if (story ? !Log.marked.has(i) : v[i] < least) continue;
      if (Log.where.value !== "" && m[i] !== Number(Log.where.value)) continue;
      if (Log.source.value !== "" && s[i] !== Number(Log.source.value)) continue;
      if (words.length) {
        const text = (Log.texts[i] ??= `${x[i]} ${names[n[i]]}`.toLowerCase());
        if (!words.every((word) => text.includes(word))) continue;
      }
      shown.push(i);
    }
    Log.shown = shown;
    document.getElementById("axis-count").textContent = `${shown.length.toLocaleString("en")} of ${t.length.toLocaleString("en")} lines`;
    Log.list.style.height = `${shown.length * Log.height}px`;
    Log.follow();
  },

  // The place of the last shown line that is not after the cursor, by halving.
  place() {
    const { t } = Axis.data.lines;
    let low = 0;
    let high = Log.shown.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (t[Log.shown[middle]] <= Axis.cursor + 0.5) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  },

  follow() {
    Log.current = Log.place();
    const y = Log.current * Log.height;
    const { scrollTop, clientHeight } = Log.pane;
    if (y < scrollTop + Log.height || y > scrollTop + clientHeight - 2 * Log.height) Log.pane.scrollTop = y - clientHeight / 2;
    Log.draw();
  },

  step(by) {
    const { t } = Axis.data.lines;
    let place = Log.current + by;
    while (by > 0 && place < Log.shown.length - 1 && t[Log.shown[place]] <= Axis.cursor) place += 1;
    if (place >= 0 && place < Log.shown.length) {
      Axis.moveTo(t[Log.shown[place]]);
    }
  },

  draw() {
    if (!Axis.data) return;
    const first = Math.max(0, Math.floor(Log.pane.scrollTop / Log.height) - 10);
    const last = Math.min(Log.shown.length, first + Math.ceil(Log.pane.clientHeight / Log.height) + 20);
    const lines = [];
    for (let place = first; place < last; place++) lines.push(Log.line(place));
    Log.list.replaceChildren(...lines);
  },

  line(place) {
    const { t, m, s, v, n, g, x, names } = Axis.data.lines;
    const i = Log.shown[place];
    const machine = m[i] < 0 ? "" : Axis.data.machines[m[i]];
    const line = document.createElement("div");
    line.dataset.line = String(i);
    line.className = `line v${v[i]} m${m[i] < 0 ? "x" : m[i] % 6}`;
    if (place === Log.current) line.classList.add("now");
    if (Log.marked.has(i)) line.classList.add("marked");
    line.style.top = `${place * Log.height}px`;
    const away = (t[i] - Axis.cursor) / 1000;
    const words = [
      ["time", (t[i] / 1000).toFixed(3)],
      ["away", `${away > 0 ? "+" : ""}${Math.abs(away) < 100 ? away.toFixed(2) : away.toFixed(0)}`],
      ["machine", machine],
      ["source", Axis.data.sources[s[i]]],
      ["text", x[i]],
    ];
    for (const [name, text] of words) {
      const part = document.createElement("span");
      part.className = name;
      part.textContent = text;
      line.append(part);
    }
    line.title = `${x[i]}\n${names[n[i]]} · ${Axis.clock(t[i])} UTC ± ${g[i]} ms`;
    return line;
  },
};
