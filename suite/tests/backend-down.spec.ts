import { expect, test } from '@playwright/test';
import { assetPaths, expectSecurityHeaders } from './support/api';

// Run in a phase of its own, while the orchestrator has stopped the backend.
test.describe('while the backend is stopped', { tag: '@backend-down' }, () => {
  test('the page still loads and says that the server is not available', async ({ page }) => {
    const answer = await page.goto('/search?q=tea');

    expect(answer?.status()).toBe(200);
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('Search');
    const banner = page.getByTestId('backend-down');
    await expect(banner).toBeVisible();
    await expect(banner).toHaveRole('alert');
    await expect(banner).toContainText('not available');
    await expect(page.getByTestId('connection')).toHaveAttribute('data-state', 'offline');
  });

  test('the API and the health check answer 502 with the security headers', async ({ request }) => {
    for (const path of ['/api/v1/conversations', '/health', '/ws']) {
      const answer = await request.get(path);
      expect.soft(answer.status(), path).toBe(502);
      expectSecurityHeaders(answer, `GET ${path}`);
    }
  });

  test('the configuration and the assets do not need the backend', async ({ request }) => {
    const config = await request.get('/config.json');
    expect(config.status()).toBe(200);
    expect(await config.json()).toHaveProperty('livekitUrl');
    for (const path of await assetPaths(request)) {
      expect((await request.get(path)).status(), path).toBe(200);
    }
  });
});
