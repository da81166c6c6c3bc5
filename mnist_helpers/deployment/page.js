// The page's own part: the pad of notebook 09 (pad.js) draws, the network answers here.
// NETWORK and WEIGHTS are written in by web_page.py.

const MARGIN = 30; // empty pixels around the paper, so that no stroke reaches the edge
const DARKEST = 0x16; // of 255: the red of the pen in pad.js
const DRAW = "Draw a digit, or several side by side.";

function inkOf(strokes, thickness) {
  const canvas = document.createElement("canvas");
  const size = (canvas.width = canvas.height = SIZE + 2 * MARGIN);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, size, size);
  context.translate(MARGIN, MARGIN);
  drawStrokes(context, strokes, thickness);
  const { data } = context.getImageData(0, 0, size, size);
  const ink = new Float32Array(size * size);
  if (data[0] !== 255) return null; // noise, against being recognised: then nothing can be read
  for (let i = 0; i < ink.length; i++) ink[i] = (255 - data[4 * i]) / (255 - DARKEST);
  return { data: ink, width: size, height: size };
}

// What the network says of one digit: "7, 98 %", with two digits where it is not sure.
function read(network, pixels) {
  const { logits, seen } = run(network, pixels);
  const probabilities = softmax(logits, network.temperature);
  const far = distance(network, seen);
  const [first, second] = [...logits.keys()].sort((a, b) => logits[b] - logits[a]);
  const top = probabilities[first];
  const sure = top >= network.threshold && far <= network.farthest;
  const strange = far > network.no_digit ? ", unlike any digit" : "";
  const name = sure ? `${first}` : `not sure: ${first} or ${second}`;
  return { digit: first, sure, probabilities, message: `${name}, ${Math.round(100 * top)} %${strange}` };
}

// What the pad shows: the answer to one digit; of several, the bars of the one drawn last.
function answer(network, strokes, thickness) {
  const nothing = { seen: [], probabilities: [], message: DRAW };
  if (!strokes.length) return nothing;
  const ink = inkOf(strokes, thickness);
  if (!ink) return { ...nothing, message: "This browser hides the drawing from the page." };
  const digits = digitsOf(ink);
  if (!digits.length) return { ...nothing, message: "The digit is too small." };
  const images = digits.map((digit) => asMnist(cutOut(ink, digit)));
  const answers = images.map((image) => read(network, image));
  const x = strokes.at(-1).at(-1)[0] * SIZE + MARGIN;
  const away = digits.map(({ left, right }) => Math.max(left - x, x - right));
  const last = away.indexOf(Math.min(...away));
  const row = answers.map(({ digit, sure }) => (sure ? `${digit}` : `${digit}?`)).join(" ");
  const doubt = answers.every(({ sure }) => sure) ? "" : " (? means not sure)";
  const message = answers.length === 1 ? answers[0].message : row + doubt;
  return { seen: images[last], probabilities: answers[last].probabilities, message };
}

// The pad asks for values, sets them and waits for changes, as a widget in a notebook does.
function widget(network) {
  const state = { strokes: [], thickness: 22, ...answer(network, [], 22) };
  const heard = {};
  return {
    get: (name) => state[name],
    on: (event, handle) => (heard[event] = handle),
    off: (event) => delete heard[event],
    save_changes: () => {},
    set: (name, value) => {
      state[name] = value;
      Object.assign(state, answer(network, state.strokes, state.thickness));
      for (const handle of Object.values(heard)) handle();
    },
  };
}

const place = document.getElementById("pad");
unpacked(NETWORK, WEIGHTS).then(
  (network) => render({ model: widget(network), el: place }),
  (error) => (place.textContent = `This browser is too old for this page (${error}).`),
);
