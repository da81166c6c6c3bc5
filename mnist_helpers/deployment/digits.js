// From a drawing to digits as MNIST was made: as digit_from_image does it in Python, for clean
// paper (09_handwriting.ipynb). Ink is { data: Float32Array, width, height }, 0 to 1.

const [SIDE, INNER, THINNEST] = [28, 20, 1.7]; // as in handwriting/digits.py

// The pieces of ink that touch, also at a corner: each the list of its pixels' places.
function pieces({ data, width, height }, least) {
  const known = new Uint8Array(data.length);
  const found = [];
  for (let start = 0; start < data.length; start++) {
    if (known[start] || data[start] <= least) continue;
    const piece = [start];
    known[start] = 1;
    for (let next = 0; next < piece.length; next++) {
      const x = piece[next] % width;
      const y = Math.floor(piece[next] / width);
      for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row++) {
        for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column++) {
          const place = row * width + column;
          if (known[place] || data[place] <= least) continue;
          known[place] = 1;
          piece.push(place);
        }
      }
    }
    found.push(piece);
  }
  return found;
}

function boxOf(piece, width) {
  const box = { left: Infinity, top: Infinity, right: 0, bottom: 0 }; // the last two are beyond
  for (const place of piece) {
    const x = place % width;
    const y = Math.floor(place / width);
    box.left = Math.min(box.left, x);
    box.right = Math.max(box.right, x + 1);
    box.top = Math.min(box.top, y);
    box.bottom = Math.max(box.bottom, y + 1);
  }
  return box;
}

// Digits from left to right: pieces above each other are one digit, specks are none.
function digitsOf(ink) {
  const marks = pieces(ink, 0.4).map((piece) => ({ piece, ...boxOf(piece, ink.width) }));
  const size = ({ left, top, right, bottom }) => Math.max(right - left, bottom - top);
  const largest = Math.max(0, ...marks.map(size));
  const digits = [];
  for (const mark of marks.sort((a, b) => a.left - b.left)) {
    if (size(mark) < Math.max(7, 0.2 * largest)) continue;
    const last = digits.at(-1);
    const common = last ? Math.min(last.right, mark.right) - mark.left : 0;
    const tall = ({ top, bottom }) => bottom - top > 0.7 * largest;
    const part = last && tall(last) && tall(mark) ? 0.5 : 0.3; // a slanted 1 leans over the next digit
    if (last && common > part * Math.min(last.right - last.left, mark.right - mark.left)) {
      last.piece = last.piece.concat(mark.piece);
      Object.assign(last, boxOf(last.piece, ink.width));
    } else digits.push(mark);
  }
  return digits;
}

// The largest value in a square around each pixel: along the rows, then along the columns.
function widened({ data, width, height }, reach) {
  for (const [step, length] of [[1, width], [width, height]]) {
    const result = new Float32Array(data.length);
    for (let i = 0; i < data.length; i++) {
      const at = Math.floor(i / step) % length;
      const [first, last] = [Math.max(-reach, -at), Math.min(reach, length - 1 - at)];
      let most = data[i];
      for (let j = first; j <= last; j++) most = Math.max(most, data[i + j * step]);
      result[i] = most;
    }
    data = result;
  }
  return data;
}

// The ink with `grow` more pixels on each side, and with strokes that are thicker by so much.
function grown(cut, grow) {
  const { data, width, height } = placed(cut, grow, grow, cut.width + 2 * grow, cut.height + 2 * grow);
  const disk = [];
  for (let y = -grow; y <= grow; y++) {
    for (let x = -grow; x <= grow; x++) if (x * x + y * y <= grow * (grow + 0.5)) disk.push(y * width + x);
  }
  const result = new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) {
    if (data[i] === 0) continue;
    for (const away of disk) result[i + away] = Math.max(result[i + away], data[i]);
  }
  return { data: result, width, height };
}

// An empty image with this one in it, at a place.
function placed({ data, width, height }, left, top, newWidth, newHeight) {
  const result = new Float32Array(newWidth * newHeight);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) result[(y + top) * newWidth + x + left] = data[y * width + x];
  }
  return { data: result, width: newWidth, height: newHeight };
}

// The ink of one digit in its box, as strong as its strokes are, without its neighbours.
function cutOut(ink, { piece, left, top, right, bottom }) {
  const [width, height] = [right - left, bottom - top];
  const own = placed({ data: [], width: 0, height: 0 }, 0, 0, width, height);
  for (const place of piece) {
    own.data[(Math.floor(place / ink.width) - top) * width + (place % ink.width) - left] = 1;
  }
  const strengths = Float64Array.from(piece, (place) => ink.data[place]).sort();
  const at = 0.75 * (strengths.length - 1);
  const [low, high] = [strengths[Math.floor(at)], strengths[Math.ceil(at)]];
  const full = low + (high - low) * (at - Math.floor(at));
  const soft = 1 + Math.round(0.02 * Math.max(width, height)); // a stroke's soft edge is its own
  const data = widened(own, soft).map((inside, i) => {
    const place = (Math.floor(i / width) + top) * ink.width + (i % width) + left;
    return inside && Math.min(1, ink.data[place] / full);
  });
  return { data, width, height };
}

// Thin strokes grow, so that they leave a trace on 20x20 pixels: MNIST's pens were thick.
function thickened(cut) {
  const own = { ...cut, data: cut.data.map((value) => (value > 0.4 ? 1 : 0)) };
  const ink = placed(own, 1, 1, cut.width + 2, cut.height + 2);
  const nearPaper = widened({ ...ink, data: ink.data.map((value) => 1 - value) }, 1);
  const inked = ink.data.reduce((a, b) => a + b);
  const outline = ink.data.reduce((sum, value, i) => sum + value * nearPaper[i], 0);
  const missing = (THINNEST / INNER) * Math.max(cut.width, cut.height) - (2 * inked) / outline;
  const grow = Math.round(missing / 2);
  return grow < 1 ? cut : grown(cut, grow);
}

// How much each of `from` pixels counts for each of `to`: Pillow's Hamming window.
function weights(from, to) {
  const ratio = from / to;
  const reach = Math.max(1, ratio);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * ratio;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const last = Math.min(from, Math.floor(centre + reach + 0.5));
    const values = Array.from({ length: last - first }, (_, j) => {
      const x = Math.PI * Math.abs((j + first - centre + 0.5) / reach);
      return x === 0 ? 1 : x >= Math.PI ? 0 : (Math.sin(x) / x) * (0.54 + 0.46 * Math.cos(x));
    });
    const sum = values.reduce((a, b) => a + b);
    return { first, values: values.map((value) => value / sum) };
  });
}

function resized({ data, width }, side) {
  const narrow = new Float32Array(side * width); // each row is `side` long
  const small = new Float32Array(side * side);
  weights(width, side).forEach(({ first, values }, x) => {
    for (let y = 0; y < width; y++) {
      for (let j = 0; j < values.length; j++) narrow[y * side + x] += values[j] * data[y * width + first + j];
    }
  });
  weights(width, side).forEach(({ first, values }, y) => {
    for (let x = 0; x < side; x++) {
      for (let j = 0; j < values.length; j++) small[y * side + x] += values[j] * narrow[(first + j) * side + x];
    }
  });
  return small;
}

// 784 pixels, 0 to 255: the longer side 20 pixels long, the centre of mass in the centre.
function asMnist(cut) {
  cut = thickened(cut);
  const side = Math.round((Math.max(cut.width, cut.height) * SIDE) / INNER);
  const [left, top] = [Math.floor((side - cut.width) / 2), Math.floor((side - cut.height) / 2)];
  const small = resized(placed(cut, left, top, side, side), SIDE);
  let [mass, across, down] = [0, 0, 0];
  small.forEach((value, i) => {
    mass += value;
    across += value * (i % SIDE);
    down += value * Math.floor(i / SIDE);
  });
  const edge = (SIDE - INNER) / 2; // no further than the empty edge, so that no ink is lost
  const move = (sum) => Math.min(edge, Math.max(-edge, Math.round(SIDE / 2 - sum / mass)));
  const [right, lower] = [move(across), move(down)];
  const brightest = small.reduce((a, b) => Math.max(a, b));
  return Array.from(small, (_, i) => {
    const [x, y] = [((i % SIDE) - right + SIDE) % SIDE, (Math.floor(i / SIDE) - lower + SIDE) % SIDE];
    return Math.round((255 * small[y * SIDE + x]) / brightest);
  });
}
