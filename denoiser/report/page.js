"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const fields = new Map(data.fields.map((name, index) => [name, index]));
  const columns = data.columns;
  const rows = data.rows;
  const STEP = 200;
  const ZOOMS = [25, 50, 75, 100, 150, 200, 300, 400, 600, 800];
  const at = (id) => document.getElementById(id);
  const value = (row, name) => row[fields.get(name)];
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // --- the table ---

  const body = at("rows");
  const texts = rows.map((row) => columns.map((column) => value(row, column.field) ?? "").join(" ").toLowerCase());
  let sorted = { field: null, down: true };
  let chosen = rows.map((_, index) => index);
  let shown = 0;

  const written = (row, column) => {
    const found = value(row, column.field);
    if (found === null || found === undefined) return column.number ? "\u2013" : "";
    return column.number ? found.toFixed(column.digits) : String(found);
  };

  const pictureOf = (row) => {
    const views = value(row, "views");
    return views && views.length ? views[0][4] || views[0][3] : null;
  };

  const draw = (index) => {
    const row = rows[index];
    const line = make("tr", { className: value(row, "status") === "failed" ? "failed" : "" });
    const thumb = make("td", { className: "thumb" });
    const picture = pictureOf(row);
    if (picture) thumb.append(make("img", { src: picture, alt: "", loading: "lazy", decoding: "async" }));
    line.append(thumb);
    for (const column of columns) {
      const cell = make("td", { className: column.number ? "number" : column.field });
      if (column.field === "name") {
        const open = make("button", { type: "button", textContent: written(row, column) });
        open.addEventListener("click", () => look(index));
        cell.append(open);
      } else {
        cell.textContent = written(row, column);
      }
      line.append(cell);
    }
    return line;
  };

  const more = () => {
    const next = chosen.slice(shown, shown + STEP);
    body.append(...next.map(draw));
    shown += next.length;
    at("more").hidden = shown >= chosen.length;
    at("more").textContent = `Show ${Math.min(STEP, chosen.length - shown)} more`;
  };

  const compare = (first, second) => {
    const a = value(rows[first], sorted.field);
    const b = value(rows[second], sorted.field);
    const none = (each) => each === null || each === undefined || each === "";
    if (none(a) || none(b)) return none(a) - none(b) || first - second;
    const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
    return (sorted.down ? -order : order) || first - second;
  };

  const refresh = () => {
    const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = at("status").value;
    chosen = [];
    rows.forEach((row, index) => {
      if (status && value(row, "status") !== status) return;
      if (words.every((word) => texts[index].includes(word))) chosen.push(index);
    });
    if (sorted.field) chosen.sort(compare);
    body.replaceChildren();
    shown = 0;
    more();
    at("count").textContent = `${chosen.length} of ${rows.length} ${data.noun} shown`;
  };

  const head = at("head");
  for (const column of columns) {
    const button = make("button", { type: "button", textContent: column.title, title: column.help });
    const cell = make("th", { scope: "col", className: column.number ? "number" : "" }, button);
    button.addEventListener("click", () => {
      const again = sorted.field === column.field;
      sorted = { field: column.field, down: again ? !sorted.down : Boolean(column.number) };
      for (const other of head.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      refresh();
    });
    head.append(cell);
  }
  for (const status of new Set(rows.map((row) => value(row, "status")))) {
    at("status").append(make("option", { value: status, textContent: status }));
  }
  let waiting = 0;
  at("filter").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, 80);
  });
  at("status").addEventListener("change", refresh);
  at("worst").addEventListener("click", () => {
    sorted = { field: null, down: true };
    for (const other of head.children) other.removeAttribute("aria-sort");
    refresh();
  });
  at("more").addEventListener("click", () => {
    const before = body.children.length;
    more();
    body.children[before]?.querySelector("button")?.focus();
  });

  // --- one image ---

  const dialog = at("look");
  const pair = at("pair");
  const before = at("before");
  const after = at("after");
  const slide = at("slide");
  let current = null;
  let part = 0;
  let zoom = 100;

  const viewsOf = (index) => value(rows[index], "views") ?? [];
  const words = () => data.labels[viewsOf(current)[part]?.[0]] ?? { button: "", first: "", second: "" };

  const place = () => {
    const share = Number(slide.value);
    before.style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    at("edge").style.left = `${share}%`;
    const { first, second } = words();
    slide.setAttribute("aria-valuetext", `${share} % ${first}, ${100 - share} % ${second}`);
  };

  const magnify = (percent) => {
    zoom = percent;
    const view = viewsOf(current)[part];
    pair.style.width = `${Math.max(1, Math.round(view[1] * zoom / 100))}px`;
    pair.style.height = `${Math.max(1, Math.round(view[2] * zoom / 100))}px`;
    pair.classList.toggle("pixels", zoom >= 400);
    at("zoom").textContent = `${zoom} %`;
    at("larger").disabled = zoom >= ZOOMS[ZOOMS.length - 1];
    at("smaller").disabled = zoom <= ZOOMS[0];
  };
  const zoomBy = (up) => {
    const next = up ? ZOOMS.find((each) => each > zoom) : ZOOMS.findLast((each) => each < zoom);
    if (next) magnify(next);
  };

  const fitting = (view) => {
    const stage = at("stage");
    const room = Math.min((stage.clientWidth - 4) / view[1], (stage.clientHeight - 4) / view[2]) * 100;
    if (view[0] === "detail") return 100;
    const most = view[1] <= 64 ? 800 : 400;
    return ZOOMS.findLast((each) => each <= room && each <= most) ?? ZOOMS[0];
  };

  const show = () => {
    const row = rows[current];
    const views = viewsOf(current);
    const view = views[part];
    at("stage").hidden = at("viewing").hidden = !view;
    at("nothing").hidden = Boolean(view);
    at("part").hidden = views.length < 2;
    if (views.length > 1) at("part").textContent = data.labels[views[1 - part][0]].button;
    if (!view) return;
    const [, , , first, second] = view;
    const label = words();
    at("first").textContent = label.first;
    at("second").textContent = label.second;
    before.src = first ?? "";
    before.alt = first ? `${label.button}: ${label.first}` : "";
    before.classList.toggle("off", !first);
    after.classList.toggle("off", !second);
    if (second) after.src = second;
    else after.removeAttribute("src");
    after.alt = second ? `${label.button}: ${label.second}` : "";
    slide.disabled = at("difference").disabled = !(first && second);
    if (!second) slide.value = 100;
    magnify(fitting(view));
    place();
  };

  const differ = (on) => {
    pair.classList.toggle("difference", on);
    at("difference").setAttribute("aria-pressed", String(on));
    before.style.clipPath = "none";
    if (!on) place();
  };

  const look = (index) => {
    current = index;
    part = 0;
    slide.value = 50;
    const row = rows[index];
    at("title").textContent = value(row, "name");
    at("facts").textContent = columns
      .filter((column) => column.number && value(row, column.field) !== null)
      .map((column) => `${column.title} ${written(row, column)}`)
      .join(", ");
    at("said").textContent = [value(row, "said"), value(row, "notes")].filter(Boolean).join(". ");
    at("said").className = value(row, "status") === "failed" ? "error" : "";
    for (const [id, field] of [["input", "source"], ["output", "result"]]) {
      const link = value(row, field);
      at(id).hidden = !link;
      if (link) at(id).href = link;
      else at(id).removeAttribute("href");
    }
    const order = chosen.indexOf(index);
    at("number").textContent = `${order + 1} of ${chosen.length}`;
    at("previous").disabled = order <= 0;
    at("next").disabled = order < 0 || order >= chosen.length - 1;
    if (!dialog.open) dialog.showModal();
    differ(false);
    show();
    // What had the focus may be hidden or disabled now.
    if (!dialog.contains(document.activeElement) || document.activeElement.disabled) at("close").focus();
  };

  const step = (by) => {
    const order = chosen.indexOf(current) + by;
    if (order >= 0 && order < chosen.length) look(chosen[order]);
  };
  const other = () => {
    const views = viewsOf(current);
    if (views.length < 2) return;
    part = 1 - part;
    show();
  };

  slide.addEventListener("input", place);
  const drag = (event) => {
    if (!event.buttons || slide.disabled || pair.classList.contains("difference")) return;
    const box = pair.getBoundingClientRect();
    const share = Math.round(100 * (event.clientX - box.left) / box.width);
    slide.value = Math.max(0, Math.min(100, share));
    place();
    event.preventDefault();
  };
  pair.addEventListener("pointerdown", drag);
  pair.addEventListener("pointermove", drag);
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  at("larger").addEventListener("click", () => zoomBy(true));
  at("smaller").addEventListener("click", () => zoomBy(false));
  at("actual").addEventListener("click", () => magnify(100));
  at("part").addEventListener("click", other);
  at("difference").addEventListener("click", () => differ(!pair.classList.contains("difference")));
  at("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    const order = chosen.indexOf(current);
    body.children[order]?.querySelector("button")?.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (!dialog.open || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      n: () => step(1),
      p: () => step(-1),
      "+": () => zoomBy(true),
      "=": () => zoomBy(true),
      "-": () => zoomBy(false),
      "0": () => magnify(100),
      v: other,
      d: () => at("difference").disabled || differ(!pair.classList.contains("difference")),
    }[event.key];
    if (!act) return;
    const drawn = viewsOf(current).length > 0;
    if (drawn || event.key === "n" || event.key === "p") act();
    event.preventDefault();
  });

  refresh();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
