// Playwright reporter for the orchestrator: one line `::e2e {json}` on stdout for each event.
//
//   {"event":"begin","total":3,"phase":"stack","playwright":"1.65.1"}
//   {"event":"test-begin","title":"a.spec.ts › group › name","title_path":[…],"file":"a.spec.ts","line":7,
//    "index":1,"total":3,"retry":0}
//   {"event":"test-end", …the same…, "status":"passed|failed|timedOut|skipped|flaky|interrupted","final":true,
//    "duration":1.234,"error":"…","attachments":[{"name","path","content_type"}]}
//   {"event":"end","status":"passed|failed|timedout|interrupted","total":3,"passed":3,"failed":0,"flaky":0,
//    "skipped":0,"did_not_run":0,"duration":4.2,"errors":["…"]}
//
// Seconds are floats. `index` counts from 1 and stays the same over retries. `final` is false for an attempt that
// will be retried. Attachment paths are relative to ARTIFACT_DIR; what lies outside of it, or has no file, is left
// out. `errors` are those of no test (a file that does not load). If E2E_COUNTS_FILE is set, the number of tests
// that were really executed is written to it at the end; to E2E_KNOWN_FILE, what prepared-runner.cjs must know.

'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { stripVTControlCharacters } = require('node:util');

const MAX_ERROR = 8000; // characters of one error
const MAX_ERRORS = 10; // of those that belong to no test
const MAX_ATTACHMENTS = 50;

/** Text of an error: without terminal escapes, bounded, the start and the end kept. */
function errorText(error) {
  const whole = [error.message ?? error.value ?? error.stack ?? 'unknown error', error.snippet, place(error)]
    .filter(Boolean).join('\n\n');
  const text = stripVTControlCharacters(whole);
  if (text.length <= MAX_ERROR) return text;
  const half = MAX_ERROR / 2;
  return `${text.slice(0, half)}\n… ${text.length - MAX_ERROR} characters left out …\n${text.slice(-half)}`;
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

class EventReporter {
  constructor() {
    this.root = path.resolve(process.env.ARTIFACT_DIR || '/artifacts');
    this.indexes = new Map();
    this.errors = [];
    this.atLineStart = true;
    // Other reporters print half lines (dots); an event must still start a line of its own.
    const write = process.stdout.write.bind(process.stdout);
    process.stdout.write = (chunk, ...rest) => {
      if (chunk.length) this.atLineStart = chunk[chunk.length - 1] === (typeof chunk === 'string' ? '\n' : 10);
      return write(chunk, ...rest);
    };
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

  onBegin(suite) {
    this.suite = suite;
    const tests = suite.allTests();
    tests.forEach((test, index) => this.indexes.set(test.id, index + 1));
    this.emit({ event: 'begin', total: tests.length, phase: process.env.E2E_PHASE || '', playwright: this.config.version });
  }

  onTestBegin(test, result) {
    this.emit({ event: 'test-begin', ...this.describe(test, result) });
  }

  onTestEnd(test, result) {
    const status = statusOf(test, result);
    const failed = status === 'failed' || status === 'timedOut';
    const unmet = failed && result.errors.length === 0 ? 'The test passed, but it was expected to fail.' : undefined;
    this.emit({
      event: 'test-end',
      ...this.describe(test, result),
      status,
      final: !failed || result.retry >= test.retries,
      duration: result.duration / 1000,
      error: result.errors.length && status !== 'passed' ? result.errors.map(errorText).join('\n\n').slice(0, 2 * MAX_ERROR) : unmet,
      attachments: this.attachments(result),
    });
  }

  onError(error) {
    if (this.errors.length < MAX_ERRORS) this.errors.push(errorText(error));
  }

  onEnd(result) {
    const counts = { passed: 0, failed: 0, flaky: 0, skipped: 0, did_not_run: 0 };
    const tests = this.suite ? this.suite.allTests() : [];
    for (const test of tests) {
      const outcome = test.outcome();
      if (outcome === 'expected') counts.passed += 1;
      else if (outcome === 'unexpected') counts.failed += 1;
      else if (outcome === 'flaky') counts.flaky += 1;
      else if (test.results.some((one) => one.status === 'skipped')) counts.skipped += 1;
      else counts.did_not_run += 1; // interrupted, or never reached
    }
    if (process.env.E2E_COUNTS_FILE) {
      fs.writeFileSync(process.env.E2E_COUNTS_FILE, `${counts.passed + counts.failed + counts.flaky}\n`);
    }
    this.emit({ event: 'end', status: result.status, total: tests.length, ...counts, duration: result.duration / 1000, errors: this.errors });
    // Last: whatever hinders it, the outcome is told.
    if (process.env.E2E_KNOWN_FILE) this.learn(process.env.E2E_KNOWN_FILE);
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

  describe(test, result) {
    const file = path.relative(this.config.rootDir, test.location.file);
    // titlePath: root, project, file, describe…, title; the first is empty, the second too in suites without projects.
    const titlePath = [file, ...test.titlePath().slice(3)];
    const project = test.titlePath()[1];
    if (project) titlePath.unshift(`[${project}]`);
    return {
      title: titlePath.join(' › '),
      title_path: titlePath,
      file,
      line: test.location.line,
      index: this.indexes.get(test.id) ?? 0,
      total: this.indexes.size,
      retry: result.retry,
    };
  }

  attachments(result) {
    const kept = [];
    for (const attachment of result.attachments) {
      if (!attachment.path || kept.length >= MAX_ATTACHMENTS) continue;
      const relative = path.relative(this.root, attachment.path);
      if (relative.startsWith('..') || path.isAbsolute(relative)) continue;
      kept.push({ name: attachment.name, path: relative, content_type: attachment.contentType });
    }
    return kept;
  }

  emit(event) {
    const start = this.atLineStart ? '' : '\n';
    process.stdout.write(`${start}::e2e ${JSON.stringify(event)}\n`);
  }
}

module.exports = EventReporter;
