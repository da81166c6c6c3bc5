// The page's side of DrawingPad (drawing.py): the paper, the pen, and what the model says.
// It loads nothing. Strokes go to Python; the answer comes back and is only shown here.
// The web page of deployment/web_page.py has this pad too, and answers itself.

const SIZE = 280; // width and height of the paper in CSS pixels, as in drawing.py
const NEAR = 0.004; // nearer points than a pixel of the paper would only make messages long
const STEP = 1 / 28; // an arrow key moves the pen by one pixel of what the model sees
const PAUSE = 100; // milliseconds from a new point to the message about it
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const STYLE = `
.mnist-pad {
  --accent: #2b7bd0; --line: #8889; --faint: #8883; /* readable on light and on dark */
  display: flex; flex-wrap: wrap; gap: 16px 32px; padding: 8px 4px; font-size: 14px;
  font-family: var(--jp-ui-font-family, sans-serif); color: var(--jp-ui-font-color1, currentColor);
}
.mnist-pad canvas { display: block; border-radius: 4px; box-shadow: 0 0 0 1px var(--line); }
.mnist-pad :focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
.mnist-pad-left { width: ${SIZE}px; }
.mnist-pad-paper {
  width: ${SIZE}px; height: ${SIZE}px; background: #fff; cursor: crosshair;
  touch-action: none; user-select: none; -webkit-user-select: none;
}
.mnist-pad-controls, .mnist-pad-controls label { display: flex; align-items: center; gap: 10px; }
.mnist-pad-controls { gap: 8px; margin-top: 12px; }
.mnist-pad-controls label, .mnist-pad-thickness { flex: 1; min-width: 0; margin: 0; }
.mnist-pad-thickness { accent-color: var(--accent); }
.mnist-pad-controls button {
  padding: 5px 8px; font: inherit; color: inherit; cursor: pointer;
  background: var(--faint); border: 1px solid var(--line); border-radius: 4px;
}
.mnist-pad-note { margin: 10px 0 0; font-size: 12px; line-height: 1.3; opacity: 0.8; }
.mnist-pad-result { flex: 1; min-width: ${SIZE}px; max-width: 460px; }
.mnist-pad-answer { min-height: 62px; font-size: 20px; font-weight: 600; line-height: 1.3; }
.mnist-pad-details { display: flex; gap: 24px; }
.mnist-pad-seen { width: 140px; height: 140px; background: #000; image-rendering: pixelated; }
.mnist-pad-bars { flex: 1; font-variant-numeric: tabular-nums; }
.mnist-pad-bars > div {
  display: grid; grid-template-columns: 10px 1fr 56px; gap: 8px; align-items: center; height: 21px;
}
.mnist-pad-bars .bar { height: 10px; border-radius: 2px; background: var(--faint); }
.mnist-pad-bars .bar div { height: 100%; border-radius: 2px; background: var(--line); }
.mnist-pad-bars .top { font-weight: 600; }
.mnist-pad-bars .top .bar div { background: var(--accent); }
.mnist-pad-bars span:last-child { text-align: right; white-space: nowrap; }
`;

const ROW = `<div role="listitem"><span></span><div class="bar"><div></div></div><span></span></div>`;
const KEYS = "Arrow keys move the pen, space or Enter puts it down or lifts it, Escape clears.";
const PAGE = `
<style>${STYLE}</style>
<div class="mnist-pad">
  <div class="mnist-pad-left">
    <canvas class="mnist-pad-paper" tabindex="0" role="application"
      aria-label="Paper to draw a digit on. ${KEYS}"></canvas>
    <div class="mnist-pad-controls">
      <button class="mnist-pad-undo" type="button">Undo</button>
      <button class="mnist-pad-clear" type="button">Clear</button>
      <label>Thickness<input class="mnist-pad-thickness" type="range" min="4" max="60"></label>
    </div>
    <div class="mnist-pad-note" aria-hidden="true">${KEYS}</div>
  </div>
  <div class="mnist-pad-result">
    <div class="mnist-pad-answer" role="status" aria-live="polite"></div>
    <div class="mnist-pad-details">
      <div>
        <canvas class="mnist-pad-seen" width="28" height="28" role="img"></canvas>
        <p class="mnist-pad-note" aria-hidden="true">What the model sees</p>
      </div>
      <div class="mnist-pad-bars" role="list" aria-label="Probability of each digit">
        ${ROW.repeat(10)}
      </div>
    </div>
  </div>
</div>
`;

function drawStrokes(context, strokes, thickness) {
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = thickness;
  context.strokeStyle = "#16181d";
  for (const stroke of strokes) {
    context.beginPath();
    for (const [x, y] of stroke) context.lineTo(x * SIZE, y * SIZE);
    const [x, y] = stroke.at(-1);
    context.lineTo(x * SIZE + 0.01, y * SIZE); // a single point becomes a dot
    context.stroke();
  }
}

function drawPaper(canvas, strokes, thickness, cursor) {
  canvas.width = canvas.height = Math.round(SIZE * window.devicePixelRatio); // it is wiped, too
  const context = canvas.getContext("2d");
  context.scale(canvas.width / SIZE, canvas.width / SIZE);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SIZE, SIZE);
  drawStrokes(context, strokes, thickness);
  if (!cursor) return;
  context.beginPath();
  context.arc(cursor.x * SIZE, cursor.y * SIZE, Math.max(4, thickness / 2), 0, 2 * Math.PI);
  context.lineWidth = 2;
  context.strokeStyle = context.fillStyle = "#2b7bd0";
  context.stroke();
  if (cursor.down) context.fill();
}

function drawSeen(canvas, seen) {
  const image = new ImageData(28, 28);
  for (let i = 0; i < 784; i++) {
    image.data.fill(seen[i] ?? 0, 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  const content = seen.length ? "the digit, bright on black" : "nothing yet";
  canvas.setAttribute("aria-label", `What the model sees: ${content}`);
}

function drawBars(rows, probabilities) {
  const top = Math.max(...probabilities);
  rows.forEach((row, digit) => {
    const probability = probabilities[digit];
    const percent = Math.round(100 * probability);
    row.children[0].textContent = digit;
    row.children[1].firstChild.style.width = `${100 * (probability ?? 0)}%`;
    row.children[2].textContent = probability === undefined ? "" : `${percent} %`;
    row.className = probability === top ? "top" : "";
  });
}

function render({ model, el }) {
  el.innerHTML = PAGE;
  const find = (name) => el.querySelector(`.mnist-pad-${name}`);
  const [paper, seen, answer] = [find("paper"), find("seen"), find("answer")];
  const [undo, clear, slider] = [find("undo"), find("clear"), find("thickness")];
  const bars = [...find("bars").children];
  const cursor = { x: 0.5, y: 0.5, down: false, shown: false }; // the pen of the keyboard
  let pointer = null; // the id of the mouse, pen or finger that draws
  let lifted = true; // the next point starts a stroke
  let frame = null;
  let timer = null;
  let unsent = null; // all strokes, with points that the model of the widget does not have yet
  const strokes = () => unsent ?? model.get("strokes");

  const redraw = () => {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      slider.value = model.get("thickness");
      drawPaper(paper, strokes(), model.get("thickness"), cursor.shown && cursor);
    });
  };
  // What is set is saved at once: else the echo of an older message would undo it. The widget
  // manager keeps a newer value back while Python is busy, so messages do not pile up.
  const save = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  const send = () => {
    clearTimeout(timer);
    timer = null;
    if (unsent) save("strokes", unsent);
    unsent = null;
  };
  const draw = (x, y) => {
    const all = lifted ? [...strokes(), []] : strokes();
    const stroke = all.at(-1) ?? [];
    const [lastX, lastY] = stroke.at(-1) ?? [Infinity, Infinity];
    if (Math.hypot(x - lastX, y - lastY) < NEAR) return;
    unsent = [...all.slice(0, -1), [...stroke, [Number(x.toFixed(4)), Number(y.toFixed(4))]]];
    lifted = false;
    timer ??= setTimeout(send, PAUSE);
    redraw();
  };
  const lift = () => {
    pointer = null;
    lifted = true;
    cursor.down = false;
    redraw();
    send();
  };
  const leave = (kept) => {
    unsent = kept;
    lift();
  };
  const wipe = () => leave([]);
  const follow = (event) => {
    if (event.pointerId !== pointer) return;
    const box = paper.getBoundingClientRect();
    const between = event.getCoalescedEvents?.() ?? [];
    for (const { clientX, clientY } of between.length ? between : [event]) {
      const [x, y] = [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
      if (x >= 0 && x <= 1 && y >= 0 && y <= 1) draw(x, y);
      else lifted = true; // beside the paper nothing is drawn
    }
  };
  const press = (key) => {
    cursor.shown = true;
    if (key === "Escape" || key === "Delete") return wipe();
    if (key === " " || key === "Enter") {
      if (cursor.down) return lift();
      cursor.down = lifted = true;
    } else {
      cursor.x = Math.min(1, Math.max(0, cursor.x + STEP * MOVES[key][0]));
      cursor.y = Math.min(1, Math.max(0, cursor.y + STEP * MOVES[key][1]));
    }
    if (cursor.down) draw(cursor.x, cursor.y);
    redraw();
  };

  const closing = new AbortController(); // takes all listeners away at the end
  const listen = (target, type, handle, capture = false) =>
    target.addEventListener(type, handle, { signal: closing.signal, capture });
  listen(paper, "pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    paper.setPointerCapture(event.pointerId);
    pointer = event.pointerId;
    lifted = true;
    cursor.down = cursor.shown = false;
    follow(event);
  });
  listen(paper, "pointermove", follow);
  listen(paper, "lostpointercapture", lift); // pen up, or taken away by the browser
  listen(paper, "blur", () => {
    cursor.down = cursor.shown = false;
    redraw();
  });
  listen(clear, "click", wipe);
  listen(undo, "click", () => leave(strokes().slice(0, -1)));
  listen(slider, "input", () => save("thickness", Number(slider.value)));
  // Jupyter takes the keys of its shortcuts at the document, before they get here: so the pad
  // looks at them one step earlier, and keeps only those that it uses itself.
  const arrows = Object.keys(MOVES);
  const keys = new Map([
    [paper, [...arrows, " ", "Enter", "Escape", "Delete"]],
    [slider, [...arrows, "Home", "End", "PageUp", "PageDown"]],
    [clear, [" ", "Enter"]],
    [undo, [" ", "Enter"]],
  ]);
  const keep = (event) => {
    const target = event.composedPath()[0];
    const combined = event.ctrlKey || event.altKey || event.metaKey || event.shiftKey;
    if (combined || !keys.get(target)?.includes(event.key)) return;
    event.stopPropagation();
    if (target !== paper) return; // the browser knows what to do
    event.preventDefault();
    if (!event.repeat || event.key in MOVES) press(event.key); // a held space is one press
  };
  listen(window, "keydown", keep, true);

  const changes = {
    "change:strokes": redraw,
    "change:thickness": redraw,
    "change:seen": () => drawSeen(seen, model.get("seen")),
    "change:probabilities": () => drawBars(bars, model.get("probabilities")),
    "change:message": () => (answer.textContent = model.get("message")),
  };
  for (const [name, handle] of Object.entries(changes)) {
    model.on(name, handle);
    handle();
  }
  return () => {
    closing.abort();
    cancelAnimationFrame(frame);
    send();
    for (const [name, handle] of Object.entries(changes)) model.off(name, handle);
  };
}

export default { render };
