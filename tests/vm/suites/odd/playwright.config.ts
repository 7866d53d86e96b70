import { defineConfig } from '@playwright/test';

export default defineConfig({ reporter: 'line', timeout: 60_000, retries: 1 });
