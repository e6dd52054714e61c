// The loop of a peer that runs in Node: one JSON request a line on stdin, one JSON answer a line on stdout.
import { readFileSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';

// What a package prints must not get between the answers.
console.log = console.info = console.debug = console.warn = console.error;

const answer = (value) => writeSync(1, `${JSON.stringify(value)}\n`);

/**
 * Answers requests until stdin ends; the protocol is that of serving.py.
 *
 * @param open Takes {threads} and gives {name, version, settings, look}; look takes the RGB bytes of a frame, its
 *   width and its height, and gives the label of the largest face, or null.
 */
export async function serve(open) {
  let peer;
  let frames = [];
  let size = {};
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    try {
      if (request.frames) {
        size = request;
        frames = request.frames.map((path) => new Uint8Array(readFileSync(path)));
        peer = await open(request);
        answer({ name: peer.name, version: peer.version, settings: peer.settings });
      } else {
        const whole = [];
        const cpu = [];
        const labels = [];
        for (let number = 0; number < request.repeats; number += 1) {
          const used = process.cpuUsage();
          const started = performance.now();
          labels.push(await peer.look(frames[number % frames.length], size.width, size.height));
          whole.push(performance.now() - started);
          const { user, system } = process.cpuUsage(used);
          cpu.push((user + system) / 1000);
        }
        answer({ milliseconds: { whole, cpu }, labels });
      }
    } catch (error) {
      answer({ error: `${error}` });
    }
  }
}
