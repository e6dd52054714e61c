// The page: where pictures come from, and what is shown of their faces.
import { FaceReader, smoothed } from "./faces.js";

const LARGEST = 4096; // pixels of the longer side; some browsers have no larger canvases
const SHOWN = 1600;
const SEARCHED_EVERY = 3; // frames of the camera are searched for new faces; in all, known ones are followed
const SPOKEN_EVERY = 2500; // milliseconds between two announcements of what the camera sees
const element = (id) => document.getElementById(id);
const [frame, canvas, crop, message] = ["frame", "picture", "crop", "message"].map(element);
const [result, bars, camera, file] = ["result", "bars", "camera", "file"].map(element);
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
const best = (face) => Object.entries(face.probabilities).reduce((one, other) => (other[1] > one[1] ? other : one));
const signed = (value) => `${value < 0 ? "-" : "+"}${Math.abs(value).toFixed(2)}`;
const affectOf = ({ affect }) => (affect ? `valence ${signed(affect[0])}, arousal ${signed(affect[1])}` : "");
const summary = (face) => `${best(face)[0]} ${percent(best(face)[1])}`;
const sheet = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
let faces = [];
let chosen = 0;
let source = null; // what the canvas shows: an ImageBitmap, or the video of the camera
let stream = null;
let work = null; // AbortController of what is read now: answers about earlier pictures are dropped

const opened = FaceReader.open();
opened.then(
  ({ net }) => {
    // From here on nothing is loaded, so nothing may be: not even the server of this page can be reached.
    const policy = document.createElement("meta");
    policy.httpEquiv = "Content-Security-Policy";
    policy.content = "default-src 'none'";
    document.head.append(policy);
    element("about").textContent = net.about;
    bars.replaceChildren(...net.classes.map(bar));
    if (!work) say("Ready. Choose, drop or paste a picture, or use the camera.");
    document.body.dataset.ready = "";
  },
  (error) => complain(`The network could not be loaded (${error.message}): reload the page.`),
);

function bar(name) {
  const item = document.createElement("li");
  for (const [tag, kind, text] of [["span", "name", name], ["div", "track", ""], ["span", "share", ""]]) {
    const child = document.createElement(tag);
    child.className = kind;
    child.textContent = text;
    item.append(child);
  }
  item.children[1].append(document.createElement("span"));
  return item;
}

function say(text, isProblem = false) {
  if (message.textContent !== text) message.textContent = text;
  message.classList.toggle("problem", isProblem);
}

function complain(text) {
  faces = [];
  source = null;
  show();
  say(text, true);
}

function begin() {
  work?.abort();
  work = new AbortController();
  return work.signal;
}

async function readFile(blob) {
  stopCamera();
  const signal = begin();
  say("Opening the picture …");
  try {
    const picture = await open(blob);
    if (signal.aborted) return;
    [source, faces, chosen] = [picture, [], 0];
    show();
    say("Looking for faces …");
    const reader = await opened;
    const seen = pixels(picture, picture.width, picture.height);
    for (const thorough of [false, true]) {
      const read = await reader.read(seen, { thorough, signal });
      if (signal.aborted) return;
      faces = read;
      show();
      say(thorough ? sentence() : "Looking for small and rotated faces, too …");
    }
  } catch (error) {
    if (!signal.aborted) complain(error.message);
  }
}

async function open(blob) {
  try {
    const picture = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    const scale = LARGEST / Math.max(picture.width, picture.height);
    if (scale >= 1) return picture;
    const [resizeWidth, resizeHeight] = [picture.width, picture.height].map((length) => Math.ceil(scale * length));
    return await createImageBitmap(picture, { resizeWidth, resizeHeight, resizeQuality: "high" });
  } catch {
    throw new Error("This file is not a picture that the browser can read: use a JPEG, PNG or WebP file.");
  }
}

function sentence() {
  if (!faces.length) return "No face is found: it should be large, well lit and seen from the front.";
  if (faces.length === 1) return `One face: ${summary(faces[0])}.`;
  return `${faces.length} faces: ${faces.map((face) => best(face)[0]).join(", ")}.`;
}

/** Opaque pixels of a picture or of a frame of the camera; transparent ones are white. */
function pixels(image, width, height) {
  if (sheet.canvas.width !== width || sheet.canvas.height !== height) {
    Object.assign(sheet.canvas, { width, height });
  }
  sheet.fillStyle = "#fff";
  sheet.fillRect(0, 0, width, height);
  sheet.drawImage(image, 0, 0);
  return sheet.getImageData(0, 0, width, height);
}

async function startCamera() {
  const signal = begin();
  const video = document.createElement("video");
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 640 } } });
    video.muted = video.playsInline = true;
    video.srcObject = stream;
    await video.play();
  } catch {
    if (signal.aborted) return;
    complain("The camera cannot be used: connect one, allow it, and open this page by https or on this machine.");
    return;
  }
  if (signal.aborted) return stopCamera();
  camera.setAttribute("aria-pressed", "true");
  camera.textContent = "Stop the camera";
  [source, faces, chosen] = [video, [], 0];
  say("Looking for faces …");
  const reader = await opened;
  const times = [];
  let [before, spokenAt, spoken] = [performance.now(), -Infinity, null];
  for (let count = 0; ; count++) {
    await new Promise((resume) => video.requestVideoFrameCallback(resume));
    if (signal.aborted) return;
    const seen = pixels(video, video.videoWidth, video.videoHeight);
    const read = await reader.read(seen, { known: faces, search: count % SEARCHED_EVERY === 0 });
    if (signal.aborted) return;
    const now = performance.now();
    faces = smoothed(read, faces, (now - before) / 1000);
    chosen = Math.min(chosen, Math.max(0, faces.length - 1));
    before = now;
    show();
    const labels = faces.map((face) => best(face)[0]).join();
    if (labels !== spoken && now - spokenAt > SPOKEN_EVERY) {
      say(sentence());
      [spoken, spokenAt] = [labels, now];
    }
    times.push(now);
    if (times.length > 30) times.shift();
    if (times.length > 5) rate((1000 * (times.length - 1)) / (now - times[0]));
  }
}

function rate(perSecond) {
  element("rate").textContent = perSecond ? `${perSecond.toFixed(0)} frames/s` : "";
}

function stopCamera() {
  if (!stream) return;
  work.abort();
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  camera.setAttribute("aria-pressed", "false");
  camera.textContent = "Use the camera";
  rate(0);
}

/** Draws the picture, the boxes and the bars as they are now. */
function show() {
  result.hidden = !faces.length;
  canvas.hidden = !source;
  element("hint").hidden = Boolean(source);
  if (source) draw();
  if (!faces.length) return;
  const face = faces[chosen];
  const top = best(face)[0];
  element("heading").textContent = summary(face);
  element("affect").textContent = affectOf(face);
  [crop.width, crop.height] = [face.crop.width, face.crop.height];
  crop.getContext("2d").putImageData(face.crop, 0, 0);
  Object.entries(face.probabilities).forEach(([name, share], index) => {
    const [, track, number] = bars.children[index].children;
    bars.children[index].className = name === top ? "best" : "";
    track.firstChild.style.width = `${100 * share}%`;
    number.textContent = percent(share);
  });
  showChoice();
}

function draw() {
  const [width, height] = [source.videoWidth ?? source.width, source.videoHeight ?? source.height];
  const scale = Math.min(1, SHOWN / Math.max(width, height));
  const [wide, high] = [Math.round(scale * width), Math.round(scale * height)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  const pen = canvas.getContext("2d");
  const mirrored = isMirrored();
  pen.setTransform(mirrored ? -1 : 1, 0, 0, 1, mirrored ? wide : 0, 0);
  pen.drawImage(source, 0, 0, wide, high);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  const style = getComputedStyle(document.documentElement);
  // As thick on the screen whatever the size of the picture.
  const unit = Math.max(1, wide / (canvas.clientWidth || wide));
  pen.font = `600 ${15 * unit}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  for (const index of [...faces.keys()].sort((one, other) => (one === chosen) - (other === chosen))) {
    const [x, y, size] = boxOf(faces[index]);
    const text = faces.length > 1 ? `${index + 1} ${best(faces[index])[0]}` : summary(faces[index]);
    pen.strokeStyle = pen.fillStyle = index === chosen ? "#3451c6" : "#59616e";
    pen.lineWidth = 3 * unit;
    pen.beginPath();
    pen.roundRect(x, y, size, size, 8 * unit);
    pen.stroke();
    const [labelWide, labelHigh] = [pen.measureText(text).width + 14 * unit, 25 * unit];
    const left = Math.min(Math.max(x, 0), Math.max(0, wide - labelWide));
    const above = y >= labelHigh ? y - labelHigh : Math.max(y, 0);
    pen.beginPath();
    pen.roundRect(left, above, labelWide, labelHigh, 6 * unit);
    pen.fill();
    pen.fillStyle = "#fff";
    pen.fillText(text, left + 7 * unit, above + labelHigh / 2);
  }
  const name = `Your picture${faces.length ? `. ${sentence()}` : ""}`;
  if (canvas.getAttribute("aria-label") !== name) canvas.setAttribute("aria-label", name);
}

/** Whether the picture is shown as in a mirror, which is what people expect of a camera that looks at them. */
const isMirrored = () => Boolean(stream) && stream.getVideoTracks()[0].getSettings().facingMode !== "environment";

/** Left, top and width of a face's box in pixels of the canvas. */
function boxOf({ box: [x, y, width] }) {
  const scale = canvas.width / (source.videoWidth ?? source.width);
  return [isMirrored() ? canvas.width - scale * (x + width) : scale * x, scale * y, scale * width];
}

function showChoice() {
  const choice = element("faces");
  choice.hidden = faces.length < 2;
  while (choice.querySelectorAll("input").length > faces.length) {
    choice.lastElementChild.remove();
    choice.lastElementChild.remove();
  }
  for (let index = choice.querySelectorAll("input").length; index < faces.length; index++) {
    const [input, label] = [document.createElement("input"), document.createElement("label")];
    Object.assign(input, { type: "radio", name: "face", id: `face${index}`, value: index });
    input.addEventListener("change", () => choose(index));
    label.htmlFor = input.id;
    choice.append(input, label);
  }
  choice.querySelectorAll("label").forEach((label, index) => {
    label.textContent = `${index + 1} ${best(faces[index])[0]}`;
  });
  choice.querySelectorAll("input")[chosen].checked = true;
}

function choose(index) {
  chosen = index;
  show();
  say(`Face ${index + 1} of ${faces.length}: ${summary(faces[index])}.`);
}

element("choose").addEventListener("click", () => file.click());
file.addEventListener("change", () => {
  if (file.files.length) readFile(file.files[0]);
  file.value = ""; // the same file can be chosen again
});
camera.addEventListener("click", () => {
  if (!stream) return startCamera();
  const last = source;
  stopCamera();
  [source, faces] = [null, []];
  last.srcObject = null;
  show();
  say("The camera is off.");
});
canvas.addEventListener("click", (event) => {
  const scale = canvas.width / canvas.clientWidth;
  const [x, y] = [scale * event.offsetX, scale * event.offsetY];
  const hit = faces.findIndex((face) => {
    const [left, top, size] = boxOf(face);
    return x >= left && x <= left + size && y >= top && y <= top + size;
  });
  if (hit >= 0) choose(hit);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) readFile(event.clipboardData.files[0]);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    frame.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) readFile(event.dataTransfer.files[0]);
  });
}
