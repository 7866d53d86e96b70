import { defineConfig, type ReporterDescription } from '@playwright/test';
import path from 'node:path';
import { env, timeFactor } from './tests/support/environment';

const artifacts = env('ARTIFACT_DIR', '/artifacts');
const phase = env('E2E_PHASE', '');

// run-e2e-tests adds html and json to any suite and says so; by hand they are made here.
const reports: ReporterDescription[] = process.env.E2E_REPORTS_ADDED
  ? []
  : [
      ['html', { outputFolder: path.join(artifacts, 'report', phase), open: 'never' }],
      ['json', { outputFile: path.join(artifacts, phase ? `results-${phase}.json` : 'results.json') }],
    ];

// Emulated machines are about ten times slower in computing, but a page also waits for other things:
// limits grow with the root of the factor.
const slow = Math.sqrt(timeFactor);

export default defineConfig({
  testDir: './tests',
  outputDir: path.join(artifacts, 'test-results', phase),
  workers: 1, // one browser for all tests
  fullyParallel: false,
  forbidOnly: Boolean(process.env.CI),
  retries: Number(env('E2E_RETRIES', '0')),
  timeout: 60_000 * slow,
  expect: { timeout: 10_000 * slow },
  reporter: [['list'], ...reports],
  use: {
    baseURL: env('BASE_URL', 'http://server'),
    headless: true,
    locale: 'en-US',
    timezoneId: 'UTC',
    colorScheme: 'light',
    actionTimeout: 15_000 * slow,
    navigationTimeout: 30_000 * slow,
    // The film strip of a trace costs an emulated machine a third of its time; DOM snapshots and calls stay.
    trace: { mode: 'retain-on-failure', screenshots: timeFactor < 4, sources: true },
    screenshot: 'on',
    video: 'off', // needs an ffmpeg that only Playwright's own download has
    launchOptions: {
      executablePath: process.env.PLAYWRIGHT_CHROMIUM_EXECUTABLE_PATH || undefined,
      timeout: 60_000 * slow,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-dev-shm-usage',
        '--disable-quic',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--no-first-run',
      ],
    },
  },
});
