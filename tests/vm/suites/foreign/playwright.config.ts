// A suite as people have it: nothing in it knows this project.
import { defineConfig } from '@playwright/test';

export default defineConfig({
  timeout: 15_000,
  retries: process.env.CI ? 2 : 0,
  reporter: [['list'], ['./own-reporter.js']],
  use: { baseURL: process.env.BASE_URL, video: 'on' },
});
