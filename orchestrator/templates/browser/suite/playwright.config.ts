import { defineConfig } from '@playwright/test';

// On an emulated machine the limits are multiplied by the orchestrator.
export default defineConfig({
  testDir: './tests',
  workers: 1,
  forbidOnly: Boolean(process.env.CI),
  use: {
    baseURL: process.env.BASE_URL,
    trace: 'retain-on-failure',
    screenshot: 'only-on-failure',
  },
});
