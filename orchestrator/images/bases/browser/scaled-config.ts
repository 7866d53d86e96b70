// A suite's Playwright configuration with every limit multiplied by E2E_TIME_FACTOR, for suites that do not heed it
// themselves. run-e2e-tests puts it beside the suite's own, whose name it fills in.
//
// A limit that a test sets for itself (test.setTimeout, { timeout } of one call) is not reached by a configuration.

import * as loaded from '@CONFIG@';

const factor = Number(process.env.E2E_TIME_FACTOR) || 1;
const original: any = (loaded as any).default?.default ?? (loaded as any).default ?? loaded;

/** 0 means no limit, and stays so; what is not there stays Playwright's own business, or is its default multiplied. */
function scaled(limit: unknown, usual?: number): number | undefined {
  const given = typeof limit === 'number' ? limit : usual;
  return given === undefined ? undefined : given * factor;
}

function use(options: any): any {
  if (!options) return options;
  const { actionTimeout, navigationTimeout } = options;
  return {
    ...options,
    ...(actionTimeout === undefined ? {} : { actionTimeout: scaled(actionTimeout) }),
    ...(navigationTimeout === undefined ? {} : { navigationTimeout: scaled(navigationTimeout) }),
  };
}

function expectation(options: any, usual?: number): any {
  const limit = scaled(options?.timeout, usual);
  return limit === undefined ? options : { ...options, timeout: limit };
}

function project(one: any): any {
  return {
    ...one,
    ...(one.timeout === undefined ? {} : { timeout: scaled(one.timeout) }),
    ...(one.expect === undefined ? {} : { expect: expectation(one.expect) }),
    ...(one.use === undefined ? {} : { use: use(one.use) }),
  };
}

function server(one: any): any {
  return { ...one, timeout: scaled(one.timeout, 60_000) };
}

const config: any = {
  ...original,
  timeout: scaled(original.timeout, 30_000),
  expect: expectation(original.expect, 5_000),
};
if (original.globalTimeout !== undefined) config.globalTimeout = scaled(original.globalTimeout);
if (original.use) config.use = use(original.use);
if (original.projects) config.projects = original.projects.map(project);
if (original.webServer) {
  config.webServer = Array.isArray(original.webServer) ? original.webServer.map(server) : server(original.webServer);
}
export default config;
