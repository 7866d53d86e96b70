import { expect, test } from '@playwright/test';
import { assetPaths, expectSecurityHeaders } from './support/api';

// Run in a phase of its own, while the orchestrator has stopped the backend.
test.describe('while the backend is stopped', { tag: '@backend-down' }, () => {
  test('the page still loads and says that the server is not available', async ({ page, request }) => {
    const { livekitUrl } = (await (await request.get('/config.json')).json()) as { livekitUrl: string };
    let configurations = 0;
    page.on('request', (sent) => {
      if (sent.url().endsWith('/config.json')) configurations += 1;
    });

    const answer = await page.goto('/status');

    expect(answer?.status()).toBe(200);
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('Status');
    await expect(page.getByRole('region', { name: 'Configuration' })).toContainText(livekitUrl || 'none');
    await expect(page.getByRole('region', { name: 'Database' })).toContainText('502');
    const banner = page.getByTestId('backend-down');
    await expect(banner).toBeVisible();
    await expect(banner).toHaveRole('alert');
    await expect(banner).toContainText('not available');
    await expect(page.getByTestId('connection')).toHaveAttribute('data-state', 'offline');
    expect(configurations, 'what the proxy answers by itself must not pass for the backend being back').toBe(1);
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
