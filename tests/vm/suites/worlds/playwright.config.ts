import { defineConfig } from '@playwright/test';

export default defineConfig({
  reporter: 'line',
  timeout: 120_000,
  use: {
    launchOptions: { executablePath: process.env.PLAYWRIGHT_CHROMIUM_EXECUTABLE_PATH || undefined, args: ['--no-sandbox'] },
  },
});
