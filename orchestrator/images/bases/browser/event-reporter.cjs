// Playwright reporter for the orchestrator: one line of JSON for each event, written to the file that E2E_EVENTS names.
// That is a channel of its own (a FIFO that the orchestrator reads): nothing that a test prints can be taken for an event.
//
//   {"event":"begin","total":3,"phase":"stack","playwright":"1.65.1","shard":"1/3","whole":true}
//   {"event":"planned","id":"…","title":"a.spec.ts › group › name","file":"a.spec.ts","path":"/…/a.spec.ts","line":7,
//    "index":1,"support":true}                          each test that is going to run
//   {"event":"elsewhere","id":"…","title":…,"file":…,"line":…}     each test of the other shards, where `whole`
//   {"event":"test-begin","id":"…","title":…,"file":…,"line":7,"index":1,"total":3,"retry":0}
//   {"event":"test-end", …the same…, "status":"passed|failed|timedOut|skipped|flaky|interrupted","final":true,
//    "duration":1.234,"error":"…","attachments":[{"name","path","content_type"}]}
//   {"event":"error","text":"…"}                        of no test: a file that does not load, a failed global setup
//   {"event":"end","status":"passed|failed|timedout|interrupted","total":3,"duration":4.2}
//
// Seconds are floats. `index` counts from 1 and stays the same over retries. `final` is false for an attempt that
// will be retried. `support` marks tests of projects that others depend on. Attachment paths are relative to
// ARTIFACT_DIR; what lies outside of it, or has no file, is left out. A planned test without a test-end did not run: what
// Playwright itself calls skipped because an earlier test of its group failed is not told as skipped. If E2E_COUNTS_FILE
// is set, the number of tests that were really executed is written to it at the end; to E2E_KNOWN_FILE, what
// prepared-runner.cjs must know. If E2E_GO names a FIFO, no test begins before it was written to and closed.

'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { stripVTControlCharacters } = require('node:util');

// Bytes as they are written, JSON's escapes included. All fields of an event together stay below one line's limit, which
// orchestrator/environment/suite_events.py has too: no event is ever too long to be read.
const LINE_LIMIT = 65536;
const MAX_TITLE = 2000;
const MAX_ERROR = 16000;
const MAX_ATTACHMENTS = 24000; // of all of one attempt
const MAX_FILE = 4000;
const MAX_WORD = 200;
const MAX_ERRORS = 10; // of those that belong to no test

const written = (value) => Buffer.byteLength(JSON.stringify(value));

/** A text of at most so many bytes as it is written: the start and the end kept, a mark between them. */
function cut(text, limit) {
  if (text.length <= limit && written(text) <= limit) return text;
  for (let kept = Math.min(text.length - 1, limit); ; kept = Math.floor(kept * 0.7)) {
    const half = kept / 2;
    const start = text.slice(0, Math.ceil(half));
    const end = text.slice(text.length - Math.floor(half));
    const short = `${start}… ${text.length - start.length - end.length} characters left out …${end}`;
    if (written(short) <= limit) return short;
  }
}

/** Text of an error, without terminal escapes. */
function errorText(error) {
  const whole = [error.message ?? error.value ?? error.stack ?? 'unknown error', error.snippet, place(error)]
    .filter(Boolean).join('\n\n');
  return stripVTControlCharacters(whole);
}

function place(error) {
  return error.location ? `at ${error.location.file}:${error.location.line}:${error.location.column}` : '';
}

/** What an attempt means, given what its author expected (test.fail() turns failure into success). */
function statusOf(test, result) {
  if (result.status === 'skipped' || result.status === 'interrupted') return result.status;
  if (result.status === test.expectedStatus) return test.outcome() === 'flaky' ? 'flaky' : 'passed';
  return result.status === 'passed' ? 'failed' : result.status;
}

/** The tests that `.only` leaves of a suite; undefined where nothing in it has one. */
function focused(suite) {
  const suites = suite.suites.map((one) => [one, focused(one)]).filter(([one, found]) => found || one._only);
  const tests = suite.tests.filter((one) => one._only);
  if (!suites.length && !tests.length) return undefined;
  return [...tests, ...suites.flatMap(([one, found]) => found ?? one.allTests())];
}

const projectOf = (suite) => suite.project?.() ?? undefined;
const supportsOf = (project) => [...(project?.dependencies ?? []), ...(project?.teardown ? [project.teardown] : [])];

/** The names of the projects, of those of all suites, that one of these rests on, however far. */
function supportNames(suites, all = suites) {
  const projects = new Map(all.map((one) => [projectOf(one)?.name, projectOf(one)]));
  const found = new Set();
  const visit = (names) => names.filter((name) => !found.has(name)).forEach((name) => {
    found.add(name);
    visit(supportsOf(projects.get(name)));
  });
  for (const one of suites) visit(supportsOf(projectOf(one)));
  return new Set([...found].filter((name) => projects.has(name)));
}

/** What will run of a listing: `--list` names also what `.only` leaves out. */
function listed(root) {
  const found = focused(root);
  if (!found) return root.allTests();
  const chosen = new Set(found);
  const projects = root.suites.filter((one) => one.allTests().some((test) => chosen.has(test)));
  const needed = supportNames(projects, root.suites);
  for (const one of root.suites) {
    if (needed.has(projectOf(one)?.name)) one.allTests().forEach((test) => chosen.add(test));
  }
  return root.allTests().filter((test) => chosen.has(test));
}

class EventReporter {
  constructor() {
    this.root = path.resolve(process.env.ARTIFACT_DIR || '/artifacts');
    this.indexes = new Map();
    this.errors = 0;
    this.begun = new Map(); // id → the event of an attempt that is not told yet
    this.skipped = new Set();
    this.others = undefined; // all tests of all shards, where they are known
    // The processes that run tests inherit our environment, and are not to know where events are written.
    const { E2E_EVENTS: events, E2E_GO: go, E2E_COUNTS_FILE: counts, E2E_KNOWN_FILE: known } = process.env;
    for (const name of ['E2E_EVENTS', 'E2E_GO', 'E2E_COUNTS_FILE', 'E2E_KNOWN_FILE', 'E2E_TESTS']) delete process.env[name];
    Object.assign(this, { go, counts, known });
    if (events) {
      try {
        this.channel = fs.openSync(events, 'a');
      } catch (error) {
        process.stderr.write(`event-reporter: ${error.message}\n`);
      }
    }
  }

  version() {
    return 'v2';
  }

  printsToStdio() {
    return false; // the suite's own choice of a terminal reporter stays as it is
  }

  onConfigure(config) {
    this.config = config;
  }

  /** Newer versions of Playwright ask here before they take one shard of all tests. */
  async preprocess({ suite }) {
    if (this.config?.shard) this.others = suite.allTests();
  }

  onBegin(suite) {
    this.suite = suite;
    const tests = process.argv.includes('--list') ? listed(suite) : suite.allTests();
    tests.forEach((test, index) => this.indexes.set(test.id, index + 1));
    const shard = this.config.shard;
    this.emit({
      event: 'begin',
      total: tests.length,
      phase: process.env.E2E_PHASE || '',
      playwright: this.config.version,
      shard: shard ? `${shard.current}/${shard.total}` : undefined,
      whole: shard ? Boolean(this.others) : undefined,
    });
    const support = supportNames(suite.suites ?? []);
    for (const test of tests) {
      this.emit({
        event: 'planned', ...this.describe(test), path: this.fileOf(test),
        index: this.indexes.get(test.id), support: support.has(test.titlePath()[1]) || undefined,
      });
    }
    for (const test of this.others ?? []) {
      if (!this.indexes.has(test.id)) this.emit({ event: 'elsewhere', ...this.describe(test) });
    }
    // No test begins before somebody has written there: what the tests need is made ready when it is known that there are any.
    if (this.go && this.channel !== undefined) fs.readFileSync(this.go);
  }

  onTestBegin(test, result) {
    // A test that Playwright gives up without running it begins and ends at once: it has not begun. What is skipped is
    // skipped again when its group is run again, and told once.
    this.begun.set(test.id, { event: 'test-begin', ...this.describe(test), ...this.place(test, result) });
    if (!this.skipped.has(test.id)) setImmediate(() => this.tellBegun(test.id));
  }

  tellBegun(id) {
    const event = this.begun.get(id);
    if (event && this.begun.delete(id)) this.emit(event);
  }

  onTestEnd(test, result) {
    const status = statusOf(test, result);
    if (status === 'skipped') {
      const told = this.skipped.has(test.id); // before, in a group that is run again
      if (test.expectedStatus !== 'skipped' || told) {
        this.begun.delete(test.id);
        return;
      }
      this.skipped.add(test.id);
    }
    this.tellBegun(test.id);
    const failed = status === 'failed' || status === 'timedOut';
    const unmet = failed && result.errors.length === 0 ? 'The test passed, but it was expected to fail.' : undefined;
    const said = result.errors.length && status !== 'passed' ? result.errors.map(errorText).join('\n\n') : unmet;
    this.emit({
      event: 'test-end',
      ...this.describe(test),
      ...this.place(test, result),
      status,
      final: !failed || result.retry >= test.retries,
      duration: result.duration / 1000,
      error: said === undefined ? undefined : cut(said, MAX_ERROR),
      attachments: this.attachments(result),
    });
  }

  onError(error) {
    if (this.errors < MAX_ERRORS) this.emit({ event: 'error', text: cut(errorText(error), MAX_ERROR) });
    this.errors += 1;
  }

  onEnd(result) {
    const tests = this.suite ? this.suite.allTests() : [];
    if (this.counts) {
      const executed = tests.filter((test) => test.outcome() !== 'skipped').length;
      fs.writeFileSync(this.counts, `${executed}\n`);
    }
    this.emit({ event: 'end', status: result.status, total: this.indexes.size, duration: result.duration / 1000 });
    // Last: whatever hinders it, the outcome is told.
    if (this.known) this.learn(this.known);
  }

  /** Which modules a runner loads, and how the tests' browser is started. */
  learn(file) {
    const modules = Object.keys(require.cache)
      .filter((one) => /\/node_modules\/(@playwright\/|playwright)/.test(one) && path.basename(one) !== 'cli.js');
    const use = this.config.projects?.[0]?.use ?? {};
    const options = { ...use.launchOptions, headless: use.headless, channel: use.channel };
    const browser = use.connectOptions ? null : { name: use.browserName ?? use.defaultBrowserType ?? 'chromium', options };
    fs.writeFileSync(`${file}.new`, JSON.stringify({ modules, browser }));
    fs.renameSync(`${file}.new`, file);
  }

  describe(test) {
    const file = path.relative(this.config.rootDir, test.location.file);
    // titlePath: root, project, file, describe…, title; the first is empty, the second too in suites without projects.
    const [, project, , ...titles] = test.titlePath();
    const title = [...(project ? [`[${project}]`] : []), file, ...titles].join(' › ');
    return { id: test.id, title: cut(title, MAX_TITLE), file: cut(file, MAX_FILE), line: test.location.line };
  }

  place(test, result) {
    return { index: this.indexes.get(test.id) ?? 0, total: this.indexes.size, retry: result.retry };
  }

  /** The file that Playwright loads to get the test; its body may stand in another. */
  fileOf(test) {
    let suite = test.parent;
    while (suite && suite.type !== 'file') suite = suite.parent;
    const file = suite?.location?.file ?? test.location.file;
    return written(file) <= MAX_FILE ? file : undefined;
  }

  attachments(result) {
    const kept = [];
    let room = MAX_ATTACHMENTS;
    for (const attachment of result.attachments) {
      if (!attachment.path) continue;
      const relative = path.relative(this.root, attachment.path);
      if (relative.startsWith('..') || path.isAbsolute(relative)) continue;
      const [name, type] = [attachment.name, attachment.contentType].map((word) => cut(String(word ?? ''), MAX_WORD));
      const one = { name, path: relative, content_type: type };
      room -= written(one) + 1;
      if (room < 0) break;
      kept.push(one);
    }
    return kept;
  }

  emit(event) {
    if (this.channel === undefined) return;
    const line = Buffer.from(`${JSON.stringify(event)}\n`);
    try {
      for (let at = 0; at < line.length;) at += fs.writeSync(this.channel, line, at);
    } catch (error) {
      this.channel = undefined; // nobody reads it any more
      process.stderr.write(`event-reporter: ${error.message}\n`);
    }
  }
}

module.exports = EventReporter;
module.exports.LINE_LIMIT = LINE_LIMIT;
