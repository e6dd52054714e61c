// Faces of a picture and their expressions, as inference/face_detector.py and inference/onnx_classifier.py compute them.
//
// A picture is an ImageData. A view is a picture with the matrix from its pixels to those of the original. Coordinates
// span a picture from edge to edge: the centre of its first pixel is at (0.5, 0.5).
import * as ort from "./onnxruntime.js";

const SIDE = 128; // input of BlazeFace
const MIN_SCORE = 0.5;
const TILE_SCORE = 0.7;
const SURE_SCORE = 0.75;
const SMALLEST_FACE = 24;
const SMALLEST_SHARE = 0.15;
const LARGEST_SIDE = 2048;
const BORDER = 0.25;
const SECOND_LOOK = 0.7;
const OVERLAP = 0.4;
const SAME_FACE = 0.3; // intersection over union of anchors that MediaPipe averages
const REST_EVERY = 40; // milliseconds
const ZOOMS = [1, 1.1, 1.2, 1.3];
const MAX_OUTSIDE = 0.02;
// Places of the eyes, the nose and the mouth in the crop of a face.
const TEMPLATE = [[0.3502, 0.4044], [0.6498, 0.4044], [0.5, 0.5834], [0.5, 0.7249]];

const anchors = [[16, 2], [8, 6]].flatMap(([cells, each]) =>
  Array.from({ length: cells * cells * each }, (_, index) => {
    const cell = Math.floor(index / each);
    return [((cell % cells) + 0.5) / cells, (Math.floor(cell / cells) + 0.5) / cells];
  }),
);

/** Reader of faces. `await FaceReader.open()` loads what it needs from the folder of the page. */
export class FaceReader {
  static async open() {
    const load = async (name) => {
      const answer = await fetch(new URL(name, import.meta.url));
      if (!answer.ok) throw new Error(`${name} is missing`);
      return answer;
    };
    const [runtime, detector, net, about] = await Promise.all([
      // Packed because hosts differ in what they compress.
      load("onnxruntime.bin").then((answer) => answer.body.pipeThrough(new DecompressionStream("gzip"))),
      load("detector.onnx").then((answer) => answer.arrayBuffer()),
      load("net.onnx").then((answer) => answer.arrayBuffer()),
      load("net.json").then((answer) => answer.json()),
    ]);
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = 1; // more need headers that static hosts do not send
    ort.env.wasm.wasmBinary = await new Response(runtime).arrayBuffer();
    const reader = new FaceReader();
    reader.net = about;
    reader.detector = await ort.InferenceSession.create(new Uint8Array(detector));
    reader.classifier = await ort.InferenceSession.create(new Uint8Array(net));
    return reader;
  }

  /**
   * Faces of a picture, the largest first.
   * @param {ImageData} picture Opaque pixels.
   * @param {{known?: object[], search?: boolean, thorough?: boolean, signal?: AbortSignal}} options Faces of the frame
   *     before, which are followed; whether new ones are searched for; whether small and rotated ones are, too, which
   *     takes seconds and ends with an error when the signal says so.
   * @returns Each face's box [x, y, width, height], score, six points, crop (ImageData), probabilities by class, and
   *     valence and arousal (affect) if the network predicts them.
   */
  async read(picture, { known = [], search = true, thorough = false, signal } = {}) {
    const faces = thorough ? await this.#find(picture, signal) : await this.#follow(picture, known, search);
    const { image_size: size, channels } = this.net.preprocessing;
    for (const face of faces) face.crop = cropOf(picture, face.points, size, channels);
    const rows = await this.#classify(faces.map((face) => face.crop));
    return faces.map((face, index) => ({ ...face, ...rows[index] }));
  }

  async #follow(picture, known, search) {
    const whole = { image: picture, matrix: new DOMMatrix() };
    const others = search || !known.length ? await this.#detect(resized(whole, SIDE), MIN_SCORE) : [];
    const isNew = (face) => known.every((other) => overlap(face.box, other.box) < OVERLAP);
    return this.#lookAgain(picture, [...known, ...others.filter(isNew)]);
  }

  async #find(picture, signal) {
    const whole = { image: picture, matrix: new DOMMatrix() };
    const candidates = await this.#detect(resized(whole, SIDE), MIN_SCORE);
    const view = resized(whole, LARGEST_SIDE);
    let faces = [];
    let rested = performance.now();
    for (const [views, least] of [[tiles, TILE_SCORE], [bordered, MIN_SCORE], [turned, TILE_SCORE]]) {
      for (const part of views(view)) {
        candidates.push(...(await this.#detect(resized(part, SIDE), least)));
        if (performance.now() - rested < REST_EVERY) continue;
        await new Promise((resume) => setTimeout(resume)); // the browser draws and answers
        signal?.throwIfAborted();
        rested = performance.now();
      }
      faces = await this.#lookAgain(picture, candidates);
      if (faces.some((face) => face.score >= SURE_SCORE)) break;
    }
    return faces;
  }

  /** Detects each face a second time, upright and at the best size for BlazeFace. */
  async #lookAgain(picture, faces) {
    const seen = [];
    for (const face of withoutDoubles(faces)) {
      const matrix = cropMatrix(face.points, SIDE, SECOND_LOOK);
      const view = { image: warp(picture, matrix, SIDE, linear), matrix: matrix.inverse() };
      const again = await this.#detect(view, MIN_SCORE);
      again.sort((one, other) => overlap(face.box, one.box) - overlap(face.box, other.box));
      seen.push(...again.slice(-1));
    }
    return withoutDoubles(seen).sort((one, other) => other.box[2] - one.box[2]);
  }

  async #detect(view, least) {
    const { width, height } = view.image;
    const square = Math.max(width, height);
    const [left, top] = [(width - square) / 2, (height - square) / 2];
    // MediaPipe counts from the centres of pixels here, hence the halves.
    const scale = square / SIDE;
    const matrix = new DOMMatrix([scale, 0, 0, scale, left + 0.5 - scale / 2, top + 0.5 - scale / 2]);
    const input = toTensor(sample(view.image, matrix, SIDE, linear, false), 3, [127.5], [127.5]);
    const [boxes, scores] = await run(this.detector, "image", [1, 3, SIDE, SIDE], input, ["boxes", "scores"]);
    const found = [];
    scores.forEach((score, index) => {
      const confidence = 1 / (1 + Math.exp(-score));
      if (confidence < MIN_SCORE) return;
      const at = (place) => [0, 1].map((axis) => boxes[16 * index + 2 * place + axis] / SIDE);
      const shifted = (place) => at(place).map((value, axis) => value + anchors[index][axis]);
      const [centre, size] = [shifted(0), at(1)];
      const corners = [-0.5, 0.5].map((side) => centre.map((value, axis) => value + side * size[axis]));
      found.push({ score: confidence, places: [...corners, ...[2, 3, 4, 5, 6, 7].map(shifted)] });
    });
    const inView = ([x, y]) => [x * square + left, y * square + top];
    return averaged(found).filter((face) => face.score >= least).map(({ score, places }) => {
      const [low, high, ...points] = places.map(inView);
      const size = Math.trunc(high[0] - low[0]); // MediaPipe's boxes have whole pixels
      const middle = [Math.trunc(low[0]) + size / 2, Math.trunc(low[1]) + Math.trunc(high[1] - low[1]) / 2];
      const [x, y] = apply(view.matrix, middle);
      const { a, b, c, d } = view.matrix;
      const side = size * Math.sqrt(Math.abs(a * d - b * c));
      const box = [x - side / 2, y - side / 2, side, side];
      return { box, score, points: points.map((point) => apply(view.matrix, point)) };
    });
  }

  async #classify(crops) {
    if (!crops.length) return [];
    const { classes, temperature, preprocessing } = this.net;
    const { image_size: size, channels, mean, std } = preprocessing;
    const [means, deviations] = [mean, std].map((values) => [values].flat().map((value) => 255 * value));
    const input = new Float32Array(crops.length * channels * size * size);
    crops.forEach((crop, row) => input.set(toTensor(crop, channels, means, deviations), row * channels * size * size));
    const outputs = ["logits", "affect"].filter((name) => this.classifier.outputNames.includes(name));
    const [logits, affect] = await run(this.classifier, "image", [crops.length, channels, size, size], input, outputs);
    return crops.map((_, row) => {
      const scaled = classes.map((_, index) => logits[row * classes.length + index] / temperature);
      const shares = scaled.map((value) => Math.exp(value - Math.max(...scaled)));
      const sum = shares.reduce((total, share) => total + share, 0);
      const probabilities = Object.fromEntries(classes.map((name, index) => [name, shares[index] / sum]));
      return { probabilities, affect: affect?.slice(2 * row, 2 * row + 2) };
    });
  }
}

/** Faces of the next frame with the probabilities of those before, averaged with a time constant in seconds. */
export function smoothed(faces, before, seconds, constant = 0.3) {
  const kept = Math.exp(-seconds / constant);
  const left = [...before];
  return faces.map((face) => {
    left.sort((one, other) => overlap(face.box, other.box) - overlap(face.box, one.box));
    if (!left.length || overlap(face.box, left[0].box) < OVERLAP) return face;
    const last = left.shift();
    const average = ([name, share]) => [name, kept * last.probabilities[name] + (1 - kept) * share];
    const affect = face.affect?.map((value, index) => kept * last.affect[index] + (1 - kept) * value);
    return { ...face, affect, probabilities: Object.fromEntries(Object.entries(face.probabilities).map(average)) };
  });
}

async function run(session, name, shape, input, outputs) {
  const results = await session.run({ [name]: new ort.Tensor("float32", input, shape) });
  return outputs.map((output) => results[output].data);
}

const apply = ({ a, b, c, d, e, f }, [x, y]) => [a * x + c * y + e, b * x + d * y + f];

/** MediaPipe's non-maximum suppression: the average of overlapping detections, weighted by their scores. */
function averaged(detections) {
  let left = [...detections].sort((one, other) => other.score - one.score);
  const kept = [];
  while (left.length) {
    const [best] = left;
    const same = left.filter((other) => other === best || union(best.places, other.places) > SAME_FACE);
    const total = same.reduce((sum, { score }) => sum + score, 0);
    const mean = (place, axis) => same.reduce((sum, { score, places }) => sum + score * places[place][axis], 0) / total;
    kept.push({ score: best.score, places: best.places.map((_, place) => [mean(place, 0), mean(place, 1)]) });
    left = left.filter((other) => !same.includes(other));
  }
  return kept;
}

/** Intersection over union of two boxes, each given by its corners. */
function union([low, high], [otherLow, otherHigh]) {
  const side = (axis) => Math.max(0, Math.min(high[axis], otherHigh[axis]) - Math.max(low[axis], otherLow[axis]));
  const area = (from, to) => (to[0] - from[0]) * (to[1] - from[1]);
  const shared = side(0) * side(1);
  return shared / (area(low, high) + area(otherLow, otherHigh) - shared);
}

function withoutDoubles(faces) {
  const kept = [];
  for (const face of [...faces].sort((one, other) => other.score - one.score)) {
    if (kept.every((other) => overlap(face.box, other.box) < OVERLAP)) kept.push(face);
  }
  return kept;
}

/** Intersection of two boxes as a share of the smaller one. */
function overlap([x, y, width, height], [otherX, otherY, otherWidth, otherHeight]) {
  const wide = Math.min(x + width, otherX + otherWidth) - Math.max(x, otherX);
  const high = Math.min(y + height, otherY + otherHeight) - Math.max(y, otherY);
  const smaller = Math.max(Math.min(width * height, otherWidth * otherHeight), 1e-9);
  return (Math.max(0, wide) * Math.max(0, high)) / smaller;
}

/** View whose larger dimension is at most `largest`, averaged by area. */
function resized({ image, matrix }, largest) {
  const scale = largest / Math.max(image.width, image.height);
  if (scale >= 1) return { image, matrix };
  const [width, height] = [image.width, image.height].map((length) => Math.max(1, Math.round(scale * length)));
  return { image: byArea(image, width, height), matrix: matrix.scale(image.width / width, image.height / height) };
}

/** Squares of half the larger dimension, of a quarter, ..., which overlap by half: small faces are large in them. */
function* tiles(view) {
  const { width, height } = view.image;
  for (let side = Math.max(width, height) >> 1; side * SMALLEST_SHARE >= SMALLEST_FACE; side >>= 1) {
    for (const top of starts(height, side)) {
      for (const left of starts(width, side)) {
        yield part(view, Math.min(side, width), Math.min(side, height), new DOMMatrix().translate(left, top));
      }
    }
  }
}

function starts(length, side) {
  const count = Math.max(1, Math.ceil((2 * length) / side) - 1);
  const last = Math.max(0, length - side);
  return Array.from({ length: count }, (_, index) => Math.round(count > 1 ? (index * last) / (count - 1) : 0));
}

function* bordered(view) {
  const { width, height } = view.image;
  const border = Math.round(BORDER * Math.max(width, height));
  yield part(view, width + 2 * border, height + 2 * border, new DOMMatrix().translate(-border, -border));
}

/** Views rotated by 90, 180 and 270 degrees, each without and with a border. */
function* turned(view) {
  const { width, height } = view.image;
  for (const [wide, high, matrix] of [
    [height, width, [0, 1, -1, 0, width, 0]],
    [width, height, [-1, 0, 0, -1, width, height]],
    [height, width, [0, -1, 1, 0, 0, height]],
  ]) {
    const rotated = part(view, wide, high, new DOMMatrix(matrix));
    yield rotated;
    yield* bordered(rotated);
  }
}

/** Pixels of a view under a matrix of whole numbers; beyond the border, its last pixels are repeated. */
function part({ image, matrix }, width, height, { a, b, c, d, e, f }) {
  const [from, to] = [new Uint32Array(image.data.buffer), new Uint32Array(width * height)];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const column = Math.floor(a * (x + 0.5) + c * (y + 0.5) + e);
      const row = Math.floor(b * (x + 0.5) + d * (y + 0.5) + f);
      to[at++] = from[clamped(row, image.height) * image.width + clamped(column, image.width)];
    }
  }
  const pixels = new ImageData(new Uint8ClampedArray(to.buffer), width, height);
  return { image: pixels, matrix: matrix.multiply(new DOMMatrix([a, b, c, d, e, f])) };
}

const clamped = (index, length) => (index < 0 ? 0 : index < length ? index : length - 1);

/** Least-squares similarity (Umeyama 1991) from pixels of a picture to those of the crop of a face. */
function cropMatrix(points, size, zoom = 1) {
  const there = TEMPLATE.map((place) => place.map((value) => size * (0.5 + zoom * (value - 0.5))));
  const here = points.slice(0, there.length);
  const mean = (list, axis) => list.reduce((sum, point) => sum + point[axis], 0) / list.length;
  const [x, y, toX, toY] = [mean(here, 0), mean(here, 1), mean(there, 0), mean(there, 1)];
  let [along, across, spread] = [0, 0, 0];
  here.forEach((point, index) => {
    const [dx, dy, toDx, toDy] = [point[0] - x, point[1] - y, there[index][0] - toX, there[index][1] - toY];
    along += dx * toDx + dy * toDy;
    across += dx * toDy - dy * toDx;
    spread += dx * dx + dy * dy;
  });
  const [a, b] = [along / spread, across / spread];
  return new DOMMatrix([a, b, -b, a, toX - a * x + b * y, toY - b * x - a * y]);
}

/** Upright crop of a face in the size and geometry of the training data, grey where the net has one channel. */
function cropOf(picture, points, size, channels) {
  const zooms = ZOOMS.map((zoom) => cropMatrix(points, size, zoom));
  const inside = zooms.find((matrix) => outside(matrix.inverse(), size, picture) <= MAX_OUTSIDE);
  const crop = warp(picture, inside ?? zooms.at(-1), size, cubic);
  const { data } = crop;
  for (let at = 0; channels === 1 && at < data.length; at += 4) {
    data[at] = data[at + 1] = data[at + 2] = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
  }
  return crop;
}

/** Share of a crop that lies outside the picture. */
function outside(back, size, { width, height }) {
  let count = 0;
  for (let cell = 0; cell < 256; cell++) {
    const [x, y] = apply(back, [(size * ((cell % 16) + 0.5)) / 16, (size * (Math.floor(cell / 16) + 0.5)) / 16]);
    if (x < 0 || y < 0 || x > width || y > height) count++;
  }
  return count / 256;
}

/** Square of a picture under a similarity; one that shrinks is sampled more densely and averaged by area. */
function warp(picture, matrix, size, kernel) {
  const samples = Math.max(1, Math.round(1 / Math.hypot(matrix.a, matrix.b)));
  const drawn = sample(picture, matrix.inverse().scale(1 / samples), size * samples, kernel, true);
  return samples === 1 ? drawn : byArea(drawn, size, size);
}

const STEPS = 32; // of a pixel, as in OpenCV
const linear = table([(t) => 1 - t, (t) => t]);
const cubic = table([
  (t) => ((-0.75 * (t + 1) + 3.75) * (t + 1) - 6) * (t + 1) + 3,
  (t) => (1.25 * t - 2.25) * t * t + 1,
  (t) => (1.25 * (1 - t) - 2.25) * (1 - t) * (1 - t) + 1,
  (t) => ((-0.75 * (2 - t) + 3.75) * (2 - t) - 6) * (2 - t) + 3,
]);

/** Weights of the neighbours of a place between two pixels, step by step. */
function table(kernel) {
  const weights = Array.from({ length: STEPS }, (_, step) => kernel.map((weight) => weight(step / STEPS)));
  return { taps: kernel.length, weights: Float64Array.from(weights.flat()) };
}

/** Square of pixels interpolated at `matrix` of their centres; beyond the border the last pixel (`repeat`) or black. */
function sample({ data, width, height }, { a, b, c, d, e, f }, size, { taps, weights }, repeat) {
  const result = new ImageData(size, size);
  const out = result.data;
  const first = 1 - taps / 2;
  for (let row = 0, at = 0; row < size; row++) {
    for (let column = 0; column < size; column++, at += 4) {
      const x = Math.round(STEPS * (a * (column + 0.5) + c * (row + 0.5) + e - 0.5));
      const y = Math.round(STEPS * (b * (column + 0.5) + d * (row + 0.5) + f - 0.5));
      const [left, top] = [Math.floor(x / STEPS), Math.floor(y / STEPS)];
      const [columns, rows] = [taps * (x - STEPS * left), taps * (y - STEPS * top)];
      let red = 0, green = 0, blue = 0;
      for (let down = 0; down < taps; down++) {
        const line = top + first + down;
        if (!repeat && (line < 0 || line >= height)) continue;
        const start = clamped(line, height) * width;
        for (let right = 0; right < taps; right++) {
          const place = left + first + right;
          if (!repeat && (place < 0 || place >= width)) continue;
          const from = 4 * (start + clamped(place, width));
          const weight = weights[rows + down] * weights[columns + right];
          red += weight * data[from];
          green += weight * data[from + 1];
          blue += weight * data[from + 2];
        }
      }
      out[at] = red; // the array rounds and clamps
      out[at + 1] = green;
      out[at + 2] = blue;
      out[at + 3] = 255;
    }
  }
  return result;
}

/** Smaller picture whose pixels are the averages of those that they cover. */
function byArea({ data, width, height }, toWidth, toHeight) {
  const result = new ImageData(toWidth, toHeight);
  const [columns, rows] = [covered(width, toWidth), covered(height, toHeight)];
  const line = new Float64Array(3 * toWidth);
  // The array rounds halves to even; of four pixels, OpenCV rounds them up.
  const half = width === 2 * toWidth && height === 2 * toHeight ? 1e-6 : 0;
  for (let y = 0, at = 0; y < toHeight; y++) {
    line.fill(0);
    for (let row = rows.starts[y], step = y * rows.most; row < rows.ends[y]; row++, step++) {
      const weight = rows.weights[step];
      for (let x = 0; x < toWidth; x++) {
        let red = 0, green = 0, blue = 0;
        let from = 4 * (row * width + columns.starts[x]);
        const steps = columns.ends[x] - columns.starts[x];
        for (let place = x * columns.most, last = place + steps; place < last; place++, from += 4) {
          const share = columns.weights[place];
          red += share * data[from];
          green += share * data[from + 1];
          blue += share * data[from + 2];
        }
        line[3 * x] += weight * red;
        line[3 * x + 1] += weight * green;
        line[3 * x + 2] += weight * blue;
      }
    }
    for (let x = 0; x < toWidth; x++, at += 4) {
      for (let channel = 0; channel < 3; channel++) result.data[at + channel] = line[3 * x + channel] + half;
      result.data[at + 3] = 255;
    }
  }
  return result;
}

/** For each new pixel along one axis, the first and the last of the old ones that it covers, and their weights. */
function covered(length, toLength) {
  const scale = length / toLength;
  const most = Math.ceil(scale) + 1;
  const [starts, ends] = [new Int32Array(toLength), new Int32Array(toLength)];
  const weights = new Float64Array(most * toLength);
  for (let index = 0; index < toLength; index++) {
    const [from, to] = [index * scale, Math.min((index + 1) * scale, length)];
    starts[index] = Math.floor(from + 1e-6);
    ends[index] = Math.ceil(to - 1e-6);
    for (let old = starts[index]; old < ends[index]; old++) {
      weights[index * most + old - starts[index]] = (Math.min(old + 1, to) - Math.max(old, from)) / (to - from);
    }
  }
  return { starts, ends, weights, most };
}

/** Normalised pixels, channel by channel. */
function toTensor({ data }, channels, means, deviations) {
  const pixels = data.length / 4;
  const values = new Float32Array(channels * pixels);
  for (let channel = 0; channel < channels; channel++) {
    const [mean, deviation] = [means[channel % means.length], deviations[channel % deviations.length]];
    for (let at = 0; at < pixels; at++) values[channel * pixels + at] = (data[4 * at + channel] - mean) / deviation;
  }
  return values;
}
