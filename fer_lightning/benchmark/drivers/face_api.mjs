// @vladmandic/face-api in Node: TinyFaceDetector and expressions, WebAssembly with SIMD. Arguments:
// the folder of node_modules, and the side in pixels of what the detector sees.
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { serve } from './serving.mjs';

const modules = resolve(process.argv[2]);
const home = join(modules, '@vladmandic/face-api');
const require = createRequire(join(modules, 'driver.js'));

async function open() {
  const tf = require('@tensorflow/tfjs');
  const wasm = require('@tensorflow/tfjs-backend-wasm');
  const faceapi = require(join(home, 'dist/face-api.node-wasm.js'));
  wasm.setWasmPaths(join(modules, '@tensorflow/tfjs-backend-wasm/dist/'));
  await tf.setBackend('wasm');
  await tf.ready();
  await faceapi.nets.tinyFaceDetector.loadFromDisk(join(home, 'model'));
  await faceapi.nets.faceExpressionNet.loadFromDisk(join(home, 'model'));
  const options = new faceapi.TinyFaceDetectorOptions({ inputSize: Number(process.argv[3]) });
  return {
    name: 'face-api',
    version: require(join(home, 'package.json')).version,
    settings: `TinyFaceDetector ${options.inputSize}, expressions, ${tf.getBackend()}`,
    look: async (bytes, width, height) => {
      const image = tf.tensor3d(bytes, [height, width, 3], 'int32');
      const found = await faceapi.detectSingleFace(image, options).withFaceExpressions();
      tf.dispose(image);
      return found ? found.expressions.asSortedArray()[0].expression : null;
    },
  };
}

await serve(open);
