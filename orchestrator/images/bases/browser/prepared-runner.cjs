// A test runner that is started before it is known what it will run: Playwright's modules are loaded, a worker process
// waits with the same, and the browser is up. In a machine that is saved with it, every restored world begins there.
//
//   node prepared-runner.cjs serve FOLDER MODULES
//
// `run-e2e-tests --prepare` starts it, its output going to FOLDER/stdout and FOLDER/stderr (FIFOs). In FOLDER:
//   known.json   by event-reporter.cjs at an earlier run or listing: which modules, which browser
//   ready        its pid, once all stands
//   request      a FIFO: pid of who asks, folder, number of arguments, arguments, environment, each ended by NUL
//   code         its exit code; it serves one request and ends
//
// Only Node.js' own functions are replaced, and each once: the first `fork` of a script of Playwright's gets the worker
// that waits, the first `spawn` of a browser with the same arguments the one that runs. Whatever is not as expected is
// done as if nothing had been prepared.

'use strict';

const childProcess = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const LOOK = 2000; // milliseconds between looks whether somebody still waits
const PROFILE = '--user-data-dir=';
const WORKER_STDIO = ['ignore', 'pipe', 'pipe', 'ipc'];

const [role, folder, modules] = process.argv.slice(2);
const home = path.dirname(require.resolve(path.join(modules, 'playwright/package.json')));
const known = JSON.parse(fs.readFileSync(path.join(folder, 'known.json'), 'utf8'));

/** Node.js' own functions behind a switch: also who took one before it was turned is served by what stands here. */
const real = { spawn: childProcess.spawn, fork: childProcess.fork };
const instead = { ...real };
childProcess.spawn = (...call) => instead.spawn(...call);
childProcess.fork = (...call) => instead.fork(...call);

/** Load what an earlier runner had loaded. */
function load() {
  for (const file of known.modules) {
    try {
      require(file);
    } catch (error) {
      process.stderr.write(`prepared-runner: ${file}: ${error.message}\n`);
    }
  }
}

/** Take over the environment and the folder of who asks. */
function become(environment, cwd) {
  for (const name of Object.keys(process.env)) if (!(name in environment)) delete process.env[name];
  Object.assign(process.env, environment);
  process.chdir(cwd);
  freshNumbers();
}

/** A function that gives its value to a callback, if its last argument is one. */
function withCallback(least, work) {
  return (...call) => {
    const callback = call.length > least && typeof call.at(-1) === 'function' ? call.pop() : undefined;
    const value = work(...call);
    return callback ? process.nextTick(callback, null, value) : value;
  };
}

/** Worlds restored from one state have the same generators in their processes; only the kernel's differ. */
function freshNumbers() {
  const source = fs.openSync('/dev/urandom', 'r');
  const pool = Buffer.alloc(256); // so much is never read in parts
  let used = pool.length;
  const fill = (view) => {
    const target = new Uint8Array(view.buffer ?? view, view.byteOffset ?? 0, view.byteLength);
    for (let at = 0; at < target.length;) {
      if (used === pool.length) used = pool.length - fs.readSync(source, pool);
      const count = pool.copy(target, at, used);
      at += count;
      used += count;
    }
    return view;
  };
  const bytes = (size) => fill(Buffer.alloc(size));
  const uuid = () => {
    const value = bytes(16);
    value[6] = (value[6] & 0x0f) | 0x40;
    value[8] = (value[8] & 0x3f) | 0x80;
    return value.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  };
  const part = (view, offset = 0, size = undefined) => {
    const width = view.BYTES_PER_ELEMENT ?? 1;
    const length = size === undefined ? view.byteLength - offset * width : size * width;
    fill(new Uint8Array(view.buffer ?? view, (view.byteOffset ?? 0) + offset * width, length));
    return view;
  };
  const fraction = () => bytes(8).readBigUInt64LE() >> 11n;
  const functions = {
    randomBytes: withCallback(1, bytes),
    randomUUID: uuid,
    getRandomValues: fill,
    randomFillSync: part,
    randomFill: withCallback(1, part),
    randomInt: withCallback(1, (...ends) => {
      const [low, high] = ends.length < 2 ? [0, ends[0]] : ends;
      return low + Number((fraction() * BigInt(high - low)) >> 53n);
    }),
  };
  for (const owner of [crypto, Object.getPrototypeOf(crypto.webcrypto)]) {
    for (const [name, value] of Object.entries(functions)) {
      if (Object.getOwnPropertyDescriptor(owner, name)?.configurable) Object.defineProperty(owner, name, { value });
    }
  }
  Math.random = () => Number(fraction()) / 2 ** 53;
}

// ------------------------------------------------------------------ the worker's side

/** The command that Playwright would start the browser with, by letting it try. */
async function browserCommand() {
  const { name, options } = known.browser;
  let found;
  instead.spawn = (...call) => {
    found = call;
    throw new Error('only looked at');
  };
  try {
    const browser = await require(path.join(modules, 'playwright-core'))[name].launch(options);
    await browser.close(); // it has another way to start one
  } catch {
    // as meant
  } finally {
    instead.spawn = real.spawn;
  }
  return found;
}

async function prepareBrowser() {
  const [command, args, options] = (await browserCommand()) ?? [];
  if (!command || !args.some((one) => one.startsWith(PROFILE))) return;
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'prepared-browser-'));
  const words = args.map((one) => (one.startsWith(PROFILE) ? PROFILE + profile : one));
  const browser = real.spawn(command, words, options);
  const removeProfile = () => fs.rmSync(profile, { recursive: true, force: true, maxRetries: 3 });
  browser.once('close', removeProfile);
  const end = () => {
    try {
      process.kill(-browser.pid, 'SIGKILL');
    } catch {
      // it has ended
    }
  };
  process.once('exit', () => {
    end();
    removeProfile();
  });
  const like = (other) => other.filter((one) => !one.startsWith(PROFILE)).join('\0');
  instead.spawn = (...call) => {
    if (call[0] !== command) return real.spawn(...call);
    instead.spawn = real.spawn;
    const same = Array.isArray(call[1]) && like(call[1]) === like(args) && `${call[2]?.stdio}` === `${options.stdio}`;
    if (same && browser.pid && browser.exitCode === null && browser.signalCode === null) return browser;
    end();
    return real.spawn(...call);
  };
  await settled(browser);
}

/** Until the browser has done what it does at its start: its processes stand still for a moment. */
async function settled(browser) {
  const ticks = () => {
    let sum = 0;
    for (const pid of fs.readdirSync('/proc').filter((one) => /^\d+$/.test(one))) {
      try {
        const fields = fs.readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ');
        if (Number(fields[2]) === browser.pid) sum += Number(fields[11]) + Number(fields[12]);
      } catch {
        // it ended meanwhile
      }
    }
    return sum;
  };
  let before = ticks();
  for (let looks = 0, quiet = 0; looks < 120 && quiet < 2; looks += 1) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const now = ticks();
    quiet = now - before <= 2 ? quiet + 1 : 0;
    before = now;
  }
}

async function worker() {
  process.title = 'prepared-worker';
  const leave = () => process.exit();
  process.once('disconnect', leave);
  load();
  try {
    if (known.browser) await prepareBrowser();
  } catch (error) {
    process.stderr.write(`prepared-runner: no browser: ${error.message}\n`);
  }
  process.once('message', ({ environment, cwd, entry }) => {
    process.removeListener('disconnect', leave); // the worker's own way out is gentler
    become(environment, cwd);
    process.argv[1] = entry;
    process.argv.length = 2;
    require(entry);
  });
  process.send('prepared');
}

// ------------------------------------------------------------------ the runner's side

/** Start the worker that the first `fork` gets; resolves when it waits. */
function prepareWorker() {
  const waiting = real.fork(__filename, ['worker', folder, modules], { stdio: WORKER_STDIO });
  instead.fork = (script, ...rest) => {
    const options = rest.find((one) => one && !Array.isArray(one)) ?? {};
    if (!`${script}`.startsWith(home) || `${options.stdio}` !== `${WORKER_STDIO}`) return real.fork(script, ...rest);
    instead.fork = real.fork;
    if (!waiting.connected) return real.fork(script, ...rest);
    for (const event of ['message', 'exit']) waiting.removeAllListeners(event);
    waiting.send({ environment: options.env ?? process.env, cwd: process.cwd(), entry: script });
    return waiting;
  };
  return new Promise((resolve) => {
    waiting.once('message', resolve);
    waiting.once('exit', resolve);
  });
}

function parse(request) {
  const fields = request.toString('utf8').split('\0');
  const count = Number(fields[2]);
  const environment = {};
  for (const one of fields.slice(3 + count)) {
    const at = one.indexOf('=');
    if (at > 0) environment[one.slice(0, at)] = one.slice(at + 1);
  }
  return { asker: Number(fields[0]), cwd: fields[1], words: fields.slice(3, 3 + count), environment };
}

async function serve() {
  process.title = 'prepared-runner';
  load();
  await prepareWorker();
  fs.writeFileSync(path.join(folder, 'ready'), `${process.pid}\n`);
  const { asker, cwd, words, environment } = parse(await fs.promises.readFile(path.join(folder, 'request')));
  process.once('exit', (code) => fs.writeFileSync(path.join(folder, 'code'), `${code}\n`));
  // Whoever asked may be killed; a run that nobody listens to must not go on.
  setInterval(() => {
    try {
      process.kill(asker, 0);
    } catch {
      process.kill(0, 'SIGKILL');
    }
  }, LOOK).unref();
  become(environment, cwd);
  const cli = path.join(modules, '@playwright/test/cli.js');
  process.argv = [process.argv[0], cli, ...words];
  require(cli);
}

if (role === 'worker') worker();
else serve();
