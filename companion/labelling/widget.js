// The page side of LabelWidget: shows one item, sends one answer, and waits until the kernel has it on the disk.
// Texts and names are only ever set as text, never as html.

const ANSWER_MS = 8000; // so long may the kernel take before the page says that it does not answer

function node(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function render({ model, el }) {
  const words = model.get("words");
  const root = node("div", "alpt-label");
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Labelling: number keys give a label");
  // JupyterLab's own keys (d d deletes a cell) are off while the focus is in here, but for those with Ctrl or Cmd
  const suppress = (is_on) => (is_on ? (root.dataset.lmSuppressShortcuts = "true") : delete root.dataset.lmSuppressShortcuts);
  suppress(true);

  const stage = node("div", "alpt-stage");
  stage.tabIndex = 0; // long texts scroll by keyboard
  const image = node("img");
  const text = node("div", "alpt-text");
  const caption = node("div", "alpt-caption");
  const opinion = node("div", "alpt-caption alpt-telling");
  const choices = node("div", "alpt-choices");
  const others = node("div", "alpt-choices alpt-others");
  const said = node("div", "alpt-said");
  said.setAttribute("role", "status");
  said.setAttribute("aria-live", "polite");
  const side = node("div", "alpt-side");
  stage.append(image, text);
  const main = node("div", "alpt-main");
  const hint = node("div", "alpt-hint", "click in here to use the keys");
  main.append(stage, caption, choices, others, opinion, said);
  root.append(main, side);
  el.append(root);

  let waiting = null;

  function button(key, label, act, into) {
    const made = node("button", "alpt-button");
    made.type = "button";
    if (key) {
      const shown = node("kbd", "", key);
      shown.setAttribute("aria-hidden", "true");
      made.append(shown);
      made.setAttribute("aria-keyshortcuts", key);
    }
    made.append(node("span", "", label));
    made.addEventListener("click", act);
    into.append(made);
    return made;
  }

  function send(message) {
    if (waiting) return; // one answer an item: what comes next has not been seen yet
    waiting = setTimeout(() => {
      waiting = null;
      root.classList.remove("alpt-waiting");
      said.textContent = "The kernel does not answer. If it was restarted: Run > Run All Cells. You go on right here, " +
        "and every label counted here is on the disk.";
      said.classList.add("alpt-problem");
    }, ANSWER_MS);
    root.classList.add("alpt-waiting");
    model.send(message);
  }

  const tell = (label) => () => model.get("shown").kind !== "done" && send({ do: "tell", id: model.get("shown").id, label });
  const undo = () => send({ do: "undo" });
  const toggle = () => model.send({ do: "opinion" });
  const keys = { u: undo, Backspace: undo, s: tell(words.skipped), 0: tell(words.cannot_tell), m: toggle };
  model.get("classes").forEach((name, i) => {
    if (i < 9) keys[i + 1] = tell(name);
    button(i < 9 ? `${i + 1}` : "", name, tell(name), choices);
  });
  button("0", "can’t tell", tell(words.cannot_tell), others).classList.add("alpt-telling");
  button("s", "skip for now", tell(words.skipped), others).classList.add("alpt-telling");
  button("u", "undo", undo, others);
  const toggler = button("m", "model’s opinion", toggle, others);
  toggler.classList.add("alpt-telling");
  others.append(hint);

  root.addEventListener("keydown", (event) => {
    if (event.key === "Control" || event.key === "Meta") suppress(false);
    if ((event.ctrlKey || event.metaKey) && event.key === "s") said.textContent = "Every label is on the disk already; this saves the notebook.";
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act && !event.repeat) act(); // a key held down would label what nobody has looked at
    if (act) event.preventDefault();
    event.stopPropagation();
  });
  root.addEventListener("keyup", (event) => (event.key === "Control" || event.key === "Meta") && suppress(true));
  root.addEventListener("focusout", () => suppress(true));
  root.addEventListener("click", (event) => {
    if (!event.target.closest("button, summary")) root.focus({ preventScroll: true });
  });

  let address = "";
  function show() {
    clearTimeout(waiting);
    waiting = null;
    root.classList.remove("alpt-waiting");
    const shown = model.get("shown");
    root.dataset.item = shown.id;
    root.dataset.turn = shown.turn;
    stage.scrollTop = 0;
    image.hidden = shown.kind !== "image";
    text.hidden = shown.kind === "image";
    text.textContent = shown.text || "";
    if (address) URL.revokeObjectURL(address);
    address = "";
    if (shown.kind === "image") {
      address = URL.createObjectURL(new Blob([model.get("picture")], { type: shown.media }));
      image.src = address;
      image.alt = shown.id;
    }
    caption.textContent = shown.caption;
    root.classList.toggle("alpt-done", shown.kind === "done");
    say();
  }
  image.addEventListener("load", () => image.classList.toggle("alpt-small", image.naturalWidth < 128));

  function think() {
    const is_shown = model.get("shows_opinion");
    const parts = Object.entries(model.get("opinion")).sort((a, b) => b[1] - a[1]).slice(0, 3);
    const words = parts.map(([name, share]) => `${name} ${(100 * share).toFixed(0)}%`).join(", ");
    toggler.setAttribute("aria-pressed", is_shown);
    opinion.textContent = is_shown ? `The model takes it for: ${words || "nothing yet"}`
      : "What the model takes it for is hidden, so that it does not sway you.";
  }

  function say() {
    const problem = model.get("problem");
    said.textContent = problem || model.get("state").status;
    said.classList.toggle("alpt-problem", Boolean(problem));
    root.classList.toggle("alpt-training", Boolean(model.get("state").is_training));
  }

  function meter(label, value, most, note) {
    const row = node("div", "alpt-meter");
    const bar = node("div", "alpt-bar");
    const fill = node("div", "alpt-fill");
    fill.style.width = `${most ? (100 * value) / most : 0}%`;
    bar.append(fill);
    bar.setAttribute("role", "progressbar");
    bar.setAttribute("aria-label", label);
    bar.setAttribute("aria-valuenow", value);
    bar.setAttribute("aria-valuemin", 0);
    bar.setAttribute("aria-valuemax", most);
    row.append(node("span", "alpt-name", label), node("span", "alpt-value", note), bar);
    return row;
  }

  function progress() {
    const state = model.get("state");
    const opened = side.querySelector("details")?.open;
    const done = state.n_items - state.n_left;
    const parts = [meter("labels so far", done, state.n_items, `${state.n_labels} of ${state.n_items.toLocaleString("en")}`)];
    const most = Math.max(1, ...Object.values(state.class_mix));
    for (const name of model.get("classes")) parts.push(meter(name, state.class_mix[name], most, `${state.class_mix[name]}`));
    if (state.n_cannot_tell) parts.push(node("div", "alpt-line", `${state.n_cannot_tell} × can’t tell`));
    if (state.n_check) {
      const accuracy = state.check_accuracy;
      const found = accuracy === null ? "after the first training" : `${(100 * accuracy).toFixed(0)}% of ${state.n_check}`;
      parts.push(node("div", "alpt-line", `accuracy on the check set: ${found}`));
    }
    parts.push(node("div", "alpt-line", `round ${state.round}`));
    const notes = model.get("notes");
    if (notes.length) {
      const details = node("details");
      details.open = Boolean(opened);
      details.append(node("summary", "", `${notes.length} ${notes.length === 1 ? "note" : "notes"} on the files`));
      notes.forEach((note) => details.append(node("div", "alpt-line", note)));
      parts.push(details);
    }
    side.replaceChildren(...parts);
    say();
  }

  const listening = [["change:shown", show], ["change:problem", say], ["change:state", progress], ["change:notes", progress],
    ["change:opinion", think], ["change:shows_opinion", think]];
  listening.forEach(([event, act]) => model.on(event, act));
  show();
  think();
  progress();
  return () => {
    listening.forEach(([event, act]) => model.off(event, act));
    clearTimeout(waiting);
    if (address) URL.revokeObjectURL(address);
  };
}

export default { render };
