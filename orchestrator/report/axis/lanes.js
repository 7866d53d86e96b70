// The lanes: one row for each thing that has states over time, drawn on a canvas; trouble in logs as a strip of marks.
const Lanes = {
  row: 20,
  heading: 22,
  top: 26,
  rows: [], // {label, bars, y} or {heading, y}

  start() {
    Lanes.canvas = document.getElementById("axis-canvas");
    Lanes.tip = document.getElementById("axis-tip");
    Axis.listeners.push((what) => {
      if (what === "data") Lanes.arrange();
      Lanes.later();
    });
    new ResizeObserver(Lanes.later).observe(Lanes.canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", Lanes.later);
    window.addEventListener("beforeprint", Lanes.draw);
    Lanes.point();
  },

  arrange() {
    const rows = [];
    let y = Lanes.top;
    let group = "";
    for (const lane of Axis.data.lanes) {
      if (lane.group && lane.group !== group) {
        rows.push({ heading: lane.group, y });
        y += Lanes.heading;
        group = lane.group;
      }
      rows.push({ ...lane, y, bars: [...lane.bars].sort((one, other) => one[0] - other[0]) });
      y += Lanes.row;
      if (lane.group === "Machines" && lane.machine) {
        const samples = Axis.data.samples?.[lane.machine];
        if (samples) {
          rows.push({ samples, label: "", y });
          y += Lanes.row + 6;
        }
      }
    }
    rows.push({ heading: "Trouble in logs", y });
    y += Lanes.heading;
    for (const [index, machine] of [...Axis.data.machines.entries(), [-1, "orchestrator"]]) {
      const marks = Lanes.trouble(index);
      if (index >= 0 || marks.length) {
        rows.push({ label: machine, trouble: marks, y });
        y += Lanes.row;
      }
    }
    Lanes.rows = rows;
    Lanes.height = y + 4;
  },

  trouble(machine) {
    const { t, m, v, x } = Axis.data.lines;
    const marks = [];
    for (let i = 0; i < t.length; i++) if (v[i] >= 2 && m[i] === machine) marks.push([t[i], v[i], x[i]]);
    return marks;
  },

  later() {
    if (Lanes.waiting) return;
    Lanes.waiting = true;
    requestAnimationFrame(Lanes.draw);
  },

  get name() {
    return Lanes.width < 560 ? 84 : 150;
  },

  x(t) {
    const [start, end] = Axis.view;
    return Lanes.name + ((t - start) / (end - start)) * (Lanes.width - Lanes.name - 8);
  },

  t(x) {
    const [start, end] = Axis.view;
    return start + ((x - Lanes.name) / (Lanes.width - Lanes.name - 8)) * (end - start);
  },

  draw() {
    Lanes.waiting = false;
    if (!Axis.data) return;
    const canvas = Lanes.canvas;
    Lanes.width = canvas.parentElement.clientWidth;
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(Lanes.width * scale);
    canvas.height = Math.round(Lanes.height * scale);
    canvas.style.height = `${Lanes.height}px`;
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const colors = {};
    Lanes.color = (name) => (colors[name] ??= style.getPropertyValue(`--${name}`).trim());
    pen.scale(scale, scale);
    pen.clearRect(0, 0, Lanes.width, Lanes.height);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    Lanes.ticks(pen);
    for (const row of Lanes.rows) Lanes.one(pen, row);
    Lanes.cursor(pen);
  },

  ticks(pen) {
    const [start, end] = Axis.view;
    const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 216e5, 864e5];
    const most = Math.max(2, (Lanes.width - Lanes.name) / 90);
    const step = steps.find((one) => (end - start) / one <= most) ?? end - start;
    pen.strokeStyle = Lanes.color("line");
    pen.fillStyle = Lanes.color("soft");
    pen.textAlign = "center";
    for (let t = Math.ceil(start / step) * step; t <= end; t += step) {
      const x = Math.round(Lanes.x(t)) + 0.5;
      pen.beginPath();
      pen.moveTo(x, Lanes.top - 6);
      pen.lineTo(x, Lanes.height);
      pen.stroke();
      const text = step >= 6e4 && t % 6e4 === 0 ? `${t / 6e4} min` : `${Number((t / 1000).toFixed(3))} s`;
      pen.fillText(text, Math.min(x, Lanes.width - 24), 10);
    }
    pen.textAlign = "left";
  },

  states: {
    starting: "starting", booting: "starting", restoring: "starting", checking: "checking", agent: "agent", ssh: "agent",
    ready: "up", healthy: "up", completed: "done", passed: "ok", failed: "bad", timedOut: "bad", panicked: "bad", died: "bad",
    interrupted: "bad", ended: "bad", flaky: "warn", slow: "warn", skipped: "stop", stopping: "stop", stopped: "stop", suite: "link", step: "starting", waited: "agent",
  },
  quiet: new Set(["ready", "healthy", "completed", "stopped"]),

  one(pen, row) {
    const { y } = row;
    const middle = y + Lanes.row / 2;
    pen.fillStyle = Lanes.color(row.heading ? "soft" : "ink");
    if (row.heading) {
      pen.fillText(row.heading, 0, y + Lanes.heading / 2 + 2);
      return;
    }
    pen.save();
    pen.beginPath();
    pen.rect(0, y, Lanes.name - 6, Lanes.row);
    pen.clip();
    pen.fillText(row.label, 8, middle);
    pen.restore();
    pen.save();
    pen.beginPath();
    pen.rect(Lanes.name, y, Lanes.width - Lanes.name, Lanes.row + 6);
    pen.clip();
    if (row.bars) Lanes.bars(pen, row);
    if (row.trouble) Lanes.marks(pen, row);
    if (row.samples) Lanes.curves(pen, row);
    pen.restore();
  },

  bars(pen, row) {
    const [start, end] = Axis.view;
    let drawn = -1;
    for (const [from, to, state] of row.bars) {
      if (to < start || from > end) continue;
      const x = Lanes.x(from);
      const width = Math.max(1.5, Lanes.x(to) - x);
      const bad = Lanes.states[state] === "bad";
      if (x + width < drawn + 0.5 && !bad) continue; // it would be below others: a page of 10,000 tests draws at once
      drawn = Math.max(drawn, x + width);
      pen.fillStyle = Lanes.color(Lanes.states[state] ?? "mute");
      if (Lanes.quiet.has(state)) pen.fillRect(x, row.y + 12, width, 4);
      else pen.fillRect(x, row.y + 3, width, Lanes.row - 6);
      if (width > 3 && !Lanes.quiet.has(state)) {
        pen.fillStyle = Lanes.color("card");
        pen.fillRect(x + width - 0.5, row.y + 3, 0.5, Lanes.row - 6);
      }
    }
  },

  marks(pen, row) {
    for (const level of [2, 3, 4]) {
      pen.fillStyle = Lanes.color(level === 2 ? "warn" : "bad");
      const height = level === 2 ? 6 : 12;
      let drawn = -1;
      for (const [t, severity] of row.trouble) {
        const x = Math.round(Lanes.x(t));
        if (severity !== level || x === drawn) continue;
        drawn = x;
        pen.fillRect(x - 1, row.y + Lanes.row - 3 - height, 2, height);
      }
    }
  },

  // CPU as an area, memory as a line; both are parts of what the machine has.
  curves(pen, row) {
    const { t, cpu, mem } = row.samples;
    const bottom = row.y + Lanes.row + 2;
    const height = Lanes.row;
    const line = (values, close) => {
      pen.beginPath();
      for (let i = 0; i < t.length; i++) {
        const x = Lanes.x(t[i]);
        const y = bottom - Math.min(1, values[i]) * height;
        if (i === 0) pen.moveTo(x, close ? bottom : y);
        pen.lineTo(x, y);
      }
      if (close && t.length) pen.lineTo(Lanes.x(t[t.length - 1]), bottom);
    };
    pen.globalAlpha = 0.35;
    pen.fillStyle = Lanes.color("starting");
    line(cpu, true);
    pen.fill();
    pen.globalAlpha = 1;
    pen.strokeStyle = Lanes.color("agent");
    line(mem, false);
    pen.stroke();
  },

  cursor(pen) {
    const line = (t, color, dash) => {
      const x = Math.round(Lanes.x(t)) + 0.5;
      if (x < Lanes.name || x > Lanes.width) return;
      pen.strokeStyle = color;
      pen.setLineDash(dash);
      pen.beginPath();
      pen.moveTo(x, 18);
      pen.lineTo(x, Lanes.height);
      pen.stroke();
      pen.setLineDash([]);
    };
    for (const failure of Axis.data.failures) line(failure.t, Lanes.color("bad"), [2, 3]);
    if (Axis.data.ready !== null) line(Axis.data.ready, Lanes.color("ok"), [4, 3]);
    line(Axis.cursor, Lanes.color("link"), []);
    const x = Lanes.x(Axis.cursor);
    if (x >= Lanes.name && x <= Lanes.width) {
      pen.fillStyle = Lanes.color("link");
      pen.beginPath();
      pen.moveTo(x - 6, 16);
      pen.lineTo(x + 6, 16);
      pen.lineTo(x, 24);
      pen.fill();
    }
  },

  // What is at a place of the canvas, in words and where it leads.
  at(x, y) {
    const row = Lanes.rows.find((one) => y >= one.y && y < one.y + Lanes.row && !one.heading);
    if (!row || x < Lanes.name) return null;
    const t = Lanes.t(x);
    const near = 4 * (Lanes.t(1) - Lanes.t(0));
    if (row.trouble) {
      const found = row.trouble.filter((one) => Math.abs(one[0] - t) <= near).sort((one, other) => other[1] - one[1])[0];
      return found ? { text: found[2], t: found[0] } : null;
    }
    const found = (row.bars ?? []).filter((one) => t >= one[0] - near && t <= one[1] + near);
    const bar = found.find((one) => Lanes.states[one[2]] === "bad") ?? found[found.length - 1];
    return bar ? { text: `${bar[3]} (${((bar[1] - bar[0]) / 1000).toFixed(2)} s)`, t: bar[0], anchor: bar[4] } : null;
  },

  // One pointer moves the cursor or, with a drag, the view; two pinch; the wheel zooms with Ctrl or Shift.
  point() {
    const canvas = Lanes.canvas;
    const pointers = new Map();
    let moved = 0;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    canvas.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, event.clientX);
      moved = 0;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (before === undefined) {
        const found = Lanes.at(...place(event));
        Lanes.tip.hidden = !found;
        if (found) Lanes.tip.textContent = found.text;
        return;
      }
      const others = [...pointers].filter(([id]) => id !== event.pointerId);
      pointers.set(event.pointerId, event.clientX);
      if (others.length) {
        const other = others[0][1];
        const factor = Math.abs(event.clientX - other) / Math.max(1, Math.abs(before - other));
        Axis.zoom(factor, Lanes.t((event.clientX + other) / 2 - canvas.getBoundingClientRect().left));
        moved = 99;
        return;
      }
      moved += Math.abs(event.clientX - before);
      if (moved > 6) {
        const away = Lanes.t(before) - Lanes.t(event.clientX);
        Axis.look(Axis.view[0] + away, Axis.view[1] + away);
      }
    });
    const end = (event) => {
      const was = pointers.delete(event.pointerId);
      if (!was || event.type === "pointercancel" || moved > 6) return;
      const [x, y] = place(event);
      if (x < Lanes.name) return;
      Axis.moveTo(Lanes.t(x));
      const found = Lanes.at(x, y);
      Lanes.tip.hidden = !found;
      if (found) Lanes.tip.textContent = found.text;
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("dblclick", (event) => Axis.zoom(4, Lanes.t(place(event)[0])));
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.shiftKey) return;
        event.preventDefault();
        Axis.zoom((event.deltaY || event.deltaX) < 0 ? 1.25 : 0.8, Lanes.t(place(event)[0]));
      },
      { passive: false },
    );
  },
};
