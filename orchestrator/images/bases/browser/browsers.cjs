// Where a version of Playwright looks for Chromium and ffmpeg, so that links can be put there.
//
//   node browsers.cjs list CORE                          a line for each: PROGRAM, a tab, the path below the folder
//   node browsers.cjs link CORE FOLDER CHROMIUM FFMPEG   makes the links; FOLDER then fits PLAYWRIGHT_BROWSERS_PATH
//
// CORE is the folder of playwright-core. Its own registry is asked, because names and folders change with the versions.
// Exit codes: 0 done, 2 usage, 3 this version has another registry.

'use strict';

const fs = require('node:fs');
const path = require('node:path');

// Names in Playwright's registry; the headless shell is apart since 1.49.
const PROGRAMS = { chromium: 'chromium', 'chromium-headless-shell': 'chromium', ffmpeg: 'ffmpeg' };
const ROOT = '/browsers'; // any folder: the answers are relative to it
// Debian 13's name in registries that know it; where paths differ at all, they do by processor only.
const PLATFORM = 'ubuntu24.04-x64';

/** The registry of a playwright-core, whose place depends on the version. */
function registryOf(core) {
  process.env.PLAYWRIGHT_BROWSERS_PATH = ROOT;
  process.env.PLAYWRIGHT_HOST_PLATFORM_OVERRIDE ??= PLATFORM;
  for (const [file, pick] of [
    ['lib/coreBundle.js', (loaded) => loaded.registry?.registry],
    ['lib/server/registry/index.js', (loaded) => loaded.registry],
  ]) {
    if (!fs.existsSync(path.join(core, file))) continue;
    const registry = pick(require(path.join(core, file)));
    if (registry?.findExecutable) return registry;
  }
  return null;
}

/** Pairs of program and path, the path relative to the browsers' folder. */
function places(core) {
  const registry = registryOf(core);
  if (!registry) return [];
  const found = [];
  for (const [name, program] of Object.entries(PROGRAMS)) {
    let place;
    try {
      place = registry.findExecutable(name)?.executablePath('javascript');
    } catch {
      continue; // a name that this version does not know
    }
    if (place) found.push([program, path.relative(ROOT, place)]);
  }
  return found;
}

function main([verb, core, folder, chromium, ffmpeg]) {
  const programs = { chromium, ffmpeg };
  if (!core || !(verb === 'list' || (verb === 'link' && ffmpeg))) {
    process.stderr.write('usage: browsers.cjs list CORE | link CORE FOLDER CHROMIUM FFMPEG\n');
    return 2;
  }
  const found = places(path.resolve(core));
  if (found.length === 0) {
    process.stderr.write(`browsers.cjs: the registry of ${core} is not one that is known here\n`);
    return 3;
  }
  for (const [program, place] of found) {
    if (verb === 'list') process.stdout.write(`${program}\t${place}\n`);
    else link(programs[program], path.join(folder, place));
  }
  return 0;
}

function link(program, place) {
  fs.mkdirSync(path.dirname(place), { recursive: true });
  fs.rmSync(place, { force: true });
  fs.symlinkSync(program, place);
}

process.exitCode = main(process.argv.slice(2));
