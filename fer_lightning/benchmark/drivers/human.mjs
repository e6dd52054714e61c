// @vladmandic/human in Node: face detector and emotion alone, WebAssembly with SIMD. Argument: the folder of node_modules.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { serve } from './serving.mjs';

const modules = resolve(process.argv[2]);
const home = join(modules, '@vladmandic/human');
const require = createRequire(join(modules, 'driver.js'));
const OFF = { enabled: false };

async function open() {
  const { Human } = require(join(home, 'dist/human.node-wasm.js')); // by its path: the package exports it under no name
  // It loads its models by fetch, which in Node reads no files: this address stands for the folder of the package.
  const address = 'http://models/';
  globalThis.fetch = async (url) => {
    const body = readFileSync(join(home, 'models', String(url).slice(address.length)));
    return new Response(body, { headers: { 'content-type': String(url).endsWith('.json') ? 'application/json' : 'application/octet-stream' } });
  };
  const human = new Human({
    backend: 'wasm',
    wasmPath: join(modules, '@tensorflow/tfjs-backend-wasm/dist/'),
    modelBasePath: address,
    cacheSensitivity: 0, // every frame is looked at; the default repeats the last answer where little has changed
    filter: { enabled: false },
    gesture: OFF,
    body: OFF,
    hand: OFF,
    object: OFF,
    segmentation: OFF,
    face: {
      enabled: true,
      detector: { enabled: true },
      mesh: OFF,
      attention: OFF,
      iris: OFF,
      description: OFF,
      antispoof: OFF,
      liveness: OFF,
      emotion: { enabled: true },
    },
  });
  await human.load();
  return {
    name: 'human',
    version: human.version,
    settings: `face.detector and face.emotion alone, no cache, ${human.tf.getBackend()}`,
    look: async (bytes, width, height) => {
      const image = human.tf.tensor3d(bytes, [height, width, 3], 'int32');
      const found = await human.detect(image);
      human.tf.dispose(image);
      return found.face.length ? (found.face[0].emotion?.[0]?.emotion ?? null) : null;
    },
  };
}

await serve(open);
