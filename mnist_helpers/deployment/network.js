// A network of mnist_helpers in plain JavaScript: each layer is a function (12_deployment.ipynb).
// Values are { data: Float32Array, shape: [channels, height, width] }, after flattening [length].

function convolution(input, { weight, bias, stride, padding, groups }) {
  const [filters, depth, size] = weight.shape; // depth: the channels that each filter sees
  const [, height, width] = input.shape;
  const high = Math.floor((height + 2 * padding - size) / stride) + 1;
  const wide = Math.floor((width + 2 * padding - size) / stride) + 1;
  const data = new Float32Array(filters * high * wide);
  for (let f = 0; f < filters; f++) {
    const first = Math.floor(f / (filters / groups)) * depth; // of the channels of its group
    const sums = new Float64Array(high * wide).fill(bias ? bias.data[f] : 0);
    for (let c = 0; c < depth; c++) {
      for (let row = 0; row < size; row++) {
        for (let column = 0; column < size; column++) {
          const factor = weight.data[((f * depth + c) * size + row) * size + column];
          for (let y = 0; y < high; y++) {
            const from = y * stride + row - padding;
            if (from < 0 || from >= height) continue; // the padding is 0: it adds nothing
            const line = ((first + c) * height + from) * width;
            for (let x = 0; x < wide; x++) {
              const place = x * stride + column - padding;
              if (place >= 0 && place < width) sums[y * wide + x] += factor * input.data[line + place];
            }
          }
        }
      }
    }
    data.set(sums, f * high * wide);
  }
  return { data, shape: [filters, high, wide] };
}

function linear(input, { weight, bias }) {
  const [outputs, inputs] = weight.shape;
  const data = new Float32Array(outputs);
  for (let o = 0; o < outputs; o++) {
    let sum = bias ? bias.data[o] : 0;
    for (let i = 0; i < inputs; i++) sum += weight.data[o * inputs + i] * input.data[i];
    data[o] = sum;
  }
  return { data, shape: [outputs] };
}

function pool(input, { size }) {
  const [channels, height, width] = input.shape;
  const [high, wide] = [Math.floor(height / size), Math.floor(width / size)];
  const data = new Float32Array(channels * high * wide).fill(-Infinity);
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < high * size; y++) {
      for (let x = 0; x < wide * size; x++) {
        const place = (c * high + Math.floor(y / size)) * wide + Math.floor(x / size);
        data[place] = Math.max(data[place], input.data[(c * height + y) * width + x]);
      }
    }
  }
  return { data, shape: [channels, high, wide] };
}

function scale(input, { weight, bias }) {
  const each = input.data.length / input.shape[0]; // batch normalisation, with its fixed numbers
  const data = input.data.map((value, i) => {
    const channel = Math.floor(i / each);
    return value * weight.data[channel] + bias.data[channel];
  });
  return { data, shape: input.shape };
}

function crop(input, { margin }) {
  const [channels, height, width] = input.shape;
  const [high, wide] = [height - 2 * margin, width - 2 * margin];
  const data = new Float32Array(channels * high * wide);
  for (let i = 0; i < data.length; i++) {
    const [c, y, x] = [Math.floor(i / high / wide), Math.floor(i / wide) % high, i % wide];
    data[i] = input.data[(c * height + y + margin) * width + x + margin];
  }
  return { data, shape: [channels, high, wide] };
}

function flattenPixels(input) {
  const [channels, height, width] = input.shape; // pixel after pixel, as FlattenPixels in Python
  const places = height * width;
  const data = input.data.map((_, i) => input.data[(i % channels) * places + Math.floor(i / channels)]);
  return { data, shape: [data.length] };
}

const LAYERS = {
  convolution,
  linear,
  pool,
  scale,
  crop,
  flattenPixels,
  normalize: ({ data, shape }, { mean, std }) => ({ data: data.map((v) => (v / 255 - mean) / std), shape }),
  relu: ({ data, shape }) => ({ data: data.map((value) => Math.max(0, value)), shape }),
  flatten: ({ data }) => ({ data, shape: [data.length] }),
};

// The logits of 28x28 pixels, 0 to 255, and what the last layer saw.
function run(network, pixels) {
  let value = { data: Float32Array.from(pixels), shape: [1, 28, 28] };
  let seen = value;
  for (const layer of network.layers) {
    if (layer.kind === "linear") seen = value;
    value = LAYERS[layer.kind](value, layer);
  }
  return { logits: [...value.data], seen: seen.data };
}

function softmax(logits, temperature) {
  const top = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp((logit - top) / temperature));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

// The distance to the nearest of the typical training digits, as Certainty.distances in Python.
function distance({ centres, largest, within }, seen) {
  if (!centres) return 0;
  const length = Math.max(1e-12, Math.hypot(...seen));
  const unit = seen.map((value) => value / length);
  const width = within ? within.shape[1] : 0;
  const along = new Float32Array(width); // how far it goes in each of the directions
  unit.forEach((value, i) => along.forEach((_, k) => (along[k] += value * within.data[i * width + k])));
  const moved = unit.map((value, i) => value - along.reduce((sum, far, k) => sum + far * within.data[i * width + k], 0));
  let nearest = Infinity;
  for (let first = 0; first < centres.data.length; first += moved.length) {
    let square = 0;
    for (let i = 0; i < moved.length; i++) square += (moved[i] - largest * centres.data[first + i]) ** 2;
    nearest = Math.min(nearest, square);
  }
  return Math.sqrt(nearest);
}

// The stored numbers: compressed bytes in base64; each tensor of the network gets its own.
async function unpacked(network, base64) {
  const packed = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const view = new DataView(await new Response(stream).arrayBuffer());
  const READERS = {
    float32: [4, (at) => view.getFloat32(at, true)],
    int8: [1, (at) => view.getInt8(at) / 127],
    bfloat16: [2, (at) => (view.setUint32(0, view.getUint16(at, true) << 16), view.getFloat32(0))],
  };
  let at = 4; // the first four bytes are room to turn a bfloat16 into a float32
  const tensors = network.layers.flatMap(({ weight, bias }) => [weight, bias]);
  for (const tensor of [...tensors, network.centres, network.within]) {
    if (!tensor) continue;
    const [bytes, read] = READERS[tensor.type];
    const count = tensor.shape.reduce((a, b) => a * b, 1);
    tensor.data = Float32Array.from({ length: count }, (_, i) => read(at + i * bytes));
    at += count * bytes;
  }
  return network;
}
