// The axis of a run: one cursor, which the lanes, the lines and the screens follow. See ../axis_data.py for the data.
const Axis = {
  data: null,
  cursor: 0, // milliseconds since the run began
  view: [0, 1], // what the lanes show
  listeners: [],

  load(data) {
    const first = Axis.data === null;
    const atEnd = !first && Axis.view[1] >= Axis.data.end;
    Axis.data = data;
    if (first) {
      Axis.view = [0, data.end];
      Axis.cursor = data.cause ? data.cause.t : data.failures.length ? data.failures[0].t : data.ready ?? data.end;
    } else if (atEnd) {
      Axis.view = [Axis.view[0], data.end];
    }
    Axis.tell("data");
  },

  // Everybody is told of "data", "view" and "cursor".
  tell(what) {
    for (const listener of Axis.listeners) listener(what);
  },

  moveTo(t, { show = true, keep = true } = {}) {
    Axis.cursor = Math.max(0, Math.min(Axis.data.end, t));
    const [start, end] = Axis.view;
    if (show && (Axis.cursor < start || Axis.cursor > end)) Axis.look(Axis.cursor - (end - start) / 2, Axis.cursor + (end - start) / 2);
    if (keep) Axis.remember();
    Axis.tell("cursor");
  },

  look(start, end) {
    const width = Math.min(Axis.data.end, Math.max(20, end - start));
    const from = Math.max(0, Math.min(Axis.data.end - width, start));
    Axis.view = [from, from + width];
    Axis.tell("view");
  },

  zoom(factor, at = Axis.cursor) {
    const [start, end] = Axis.view;
    const middle = Math.max(start, Math.min(end, at));
    Axis.look(middle - (middle - start) / factor, middle + (end - middle) / factor);
  },

  // The cursor is in the address, so that a link leads to it.
  remember() {
    clearTimeout(Axis.timer);
    Axis.timer = setTimeout(() => {
      try {
        history.replaceState(null, "", `#t=${(Axis.cursor / 1000).toFixed(3)}`);
      } catch {
        // a page of a file may not
      }
    }, 200);
  },

  fromAddress() {
    const found = /^#t=([0-9.]+)/.exec(location.hash);
    if (!found) return false;
    const t = Number(found[1]) * 1000;
    if (t !== Math.round(Axis.cursor)) {
      Axis.look(t - 10000, t + 10000);
      Axis.moveTo(t, { keep: false });
    }
    document.getElementById("axis").scrollIntoView({ block: "start" });
    return true;
  },

  clock(t) {
    return new Date(Axis.data.origin + t).toISOString().slice(11, 23);
  },

  failure(step) {
    const times = Axis.data.failures.map((one) => one.t);
    const next = step > 0 ? times.find((t) => t > Axis.cursor + 1) : times.filter((t) => t < Axis.cursor - 1).pop();
    const t = next ?? (step > 0 ? times[0] : times[times.length - 1]);
    if (t !== undefined) Axis.moveTo(t);
  },
};

const Keys = {
  ArrowLeft: (event) => Axis.moveTo(Axis.cursor - Keys.step(event)),
  ArrowRight: (event) => Axis.moveTo(Axis.cursor + Keys.step(event)),
  Home: () => Axis.moveTo(0),
  End: () => Axis.moveTo(Axis.data.end),
  "+": () => Axis.zoom(2),
  "=": () => Axis.zoom(2),
  "-": () => Axis.zoom(0.5),
  0: () => Axis.look(0, Axis.data.end),
  n: () => Axis.failure(1),
  p: () => Axis.failure(-1),
  c: () => Axis.data.cause && Axis.moveTo(Axis.data.cause.t),
  j: () => Log.step(1),
  k: () => Log.step(-1),
  "/": () => document.getElementById("axis-filter").focus(),

  step(event) {
    return ((Axis.view[1] - Axis.view[0]) / 100) * (event.shiftKey ? 10 : 1);
  },

  on(event) {
    const typing = event.target.closest("input, select, textarea");
    if (typing && event.key === "Escape") typing.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = Object.hasOwn(Keys, event.key) ? Keys[event.key] : undefined;
    if (action) {
      event.preventDefault();
      action(event);
    }
  },
};

// What the machines' screens showed at the cursor.
const Screens = {
  update() {
    const place = document.getElementById("axis-screens");
    const last = new Map();
    for (const shot of Axis.data.shots) if (shot.t <= Axis.cursor || !last.has(shot.m)) last.set(shot.m, shot);
    const shown = [...last.values()].filter((shot) => Screens.source(shot.path));
    const key = shown.map((shot) => shot.path).join("\n");
    if (key === Screens.key) return;
    Screens.key = key;
    place.replaceChildren(
      ...shown.map((shot) => {
        const figure = document.createElement("figure");
        const picture = document.createElement("img");
        picture.src = Screens.source(shot.path);
        picture.alt = `screen of ${shot.m}`;
        const caption = document.createElement("figcaption");
        caption.textContent = `${shot.m} at ${(shot.t / 1000).toFixed(1)} s (${shot.step})`;
        figure.append(picture, caption);
        return figure;
      }),
    );
  },

  // The page has each picture once, among the screenshots.
  source(path) {
    if (Axis.data.files) return `${Axis.data.files}${path}`;
    const found = document.querySelector(`img[data-path="${CSS.escape(path)}"]`);
    return found ? found.getAttribute("src") : "";
  },
};

function axisTools() {
  const data = Axis.data;
  const now = document.getElementById("axis-now");
  const near = data.failures.find((one) => Math.abs(one.t - Axis.cursor) < 1);
  now.textContent = `${(Axis.cursor / 1000).toFixed(3)} s · ${Axis.clock(Axis.cursor)} UTC${near ? ` · ${near.title}` : ""}`;
  for (const button of document.querySelectorAll("#axis [data-needs]")) button.hidden = !(data[button.dataset.needs]?.length ?? data[button.dataset.needs]);
  document.getElementById("axis-left").hidden = !data.left_out;
  document.getElementById("axis-left-count").textContent = data.left_out.toLocaleString("en");
}

function startAxis(data) {
  const actions = {
    in: () => Axis.zoom(2),
    out: () => Axis.zoom(0.5),
    all: () => Axis.look(0, Axis.data.end),
    next: () => Axis.failure(1),
    before: () => Axis.failure(-1),
    cause: () => Axis.moveTo(Axis.data.cause.t),
  };
  for (const button of document.querySelectorAll("#axis [data-do]")) button.addEventListener("click", actions[button.dataset.do]);
  Lanes.start();
  Log.start();
  Axis.listeners.push((what) => {
    axisTools();
    if (what !== "view") Screens.update();
  });
  document.addEventListener("keydown", Keys.on);
  window.addEventListener("hashchange", Axis.fromAddress);
  document.getElementById("axis").hidden = false;
  document.getElementById("timeline")?.classList.add("has-axis");
  Axis.load(data);
  Axis.fromAddress();
  if ("live" in document.body.dataset) Live.start();
}

// A page that is served follows the run: it is told that something was written, and asks what.
const Live = {
  pause: 2000, // milliseconds between two pictures of a display
  machines: "",

  start() {
    const changes = new EventSource("changes");
    changes.addEventListener("message", Live.ask);
    const sign = document.getElementById("axis-live");
    sign.hidden = false;
    changes.addEventListener("open", () => (sign.textContent = Axis.data.finished ? "complete" : "live"));
    changes.addEventListener("error", () => (sign.textContent = "not connected"));
  },

  // The machines' displays as they are now, as long as somebody sees them; each is asked for when the one before came.
  screens() {
    const place = document.getElementById("axis-now-screens");
    place.replaceChildren(
      ...(Axis.data.screens ?? []).map((machine) => {
        const figure = document.createElement("figure");
        const picture = document.createElement("img");
        picture.alt = `screen of ${machine} now`;
        const caption = document.createElement("figcaption");
        caption.textContent = `${machine} now`;
        const show = () => {
          if (document.hidden) setTimeout(show, Live.pause);
          else picture.src = `screens/${encodeURIComponent(machine)}?${Date.now()}`;
        };
        picture.addEventListener("load", () => setTimeout(show, Live.pause));
        picture.addEventListener("error", () => setTimeout(show, 5 * Live.pause));
        figure.append(picture, caption);
        show();
        return figure;
      }),
    );
  },

  async ask() {
    if (Live.asking) {
      Live.again = true;
      return;
    }
    Live.asking = true;
    try {
      const answer = await fetch("data.json");
      if (answer.ok) {
        const before = Axis.data;
        const data = await answer.json();
        // The cards above are made on the host: a new failure, or the end, is worth a new page. The address keeps the cursor.
        if (data.failures.length !== before.failures.length || data.finished !== before.finished) {
          location.reload();
          return;
        }
        const atEnd = Axis.cursor >= before.end;
        Axis.load(data);
        if (data.screens.join() !== Live.machines) {
          Live.machines = data.screens.join();
          Live.screens();
        }
        if (atEnd && !Axis.data.finished) Axis.moveTo(Axis.data.end, { keep: false });
        document.getElementById("axis-live").textContent = Axis.data.finished ? "complete" : "live";
      }
    } finally {
      Live.asking = false;
      if (Live.again) {
        Live.again = false;
        Live.ask();
      }
    }
  },
};
