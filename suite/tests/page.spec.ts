import { expect, test } from '@playwright/test';
import { createConversation, unique } from './support/api';
import { withoutWebSocket } from './support/environment';

test('the start page shows the application without an error', async ({ page }) => {
  const problems: string[] = [];
  page.on('console', (message) => {
    const expected = withoutWebSocket && message.text().includes('WebSocket');
    if (message.type() === 'error' && !expected) problems.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`page: ${error.message}`));
  page.on('requestfailed', (request) => problems.push(`request: ${request.url()} ${request.failure()?.errorText}`));
  page.on('response', (response) => {
    if (response.status() >= 400) problems.push(`answer: ${response.status()} ${response.url()}`);
  });

  await page.goto('/');

  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Talk to Alicia');
  await expect(page.getByRole('form', { name: 'New conversation' })).toBeVisible();
  await expect(page.getByRole('list', { name: 'Conversations' })).toBeAttached();
  await expect(page.getByTestId('backend-down')).toBeHidden();
  await page.waitForLoadState('load');
  expect(problems).toEqual([]);
});

test('a deep link opens its conversation', async ({ page, request }) => {
  const title = unique('Deep link ');
  const { id } = await createConversation(request, title);

  const answer = await page.goto(`/c/${id}`);

  expect(answer?.status()).toBe(200);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(title);
  await expect(page).toHaveTitle(`${title} · Alicia`);
});

test('any path without a file gets the application', async ({ request }) => {
  const start = await (await request.get('/')).text();
  for (const path of ['/search?q=tea', '/status', '/c/ac_nobody', '/no/such/page']) {
    const answer = await request.get(path);
    expect.soft(answer.status(), path).toBe(200);
    expect.soft(await answer.text(), path).toBe(start);
  }
});

test('a missing asset is a 404, not the application', async ({ request }) => {
  for (const path of ['/assets/app-00000000.js', '/assets/app-00000000.css', '/no-such-picture.png']) {
    const answer = await request.get(path);
    expect.soft(answer.status(), path).toBe(404);
    expect.soft(await answer.text(), path).not.toContain('id="root"');
  }
});

test('the browser goes back and forth between the pages without loading again', async ({ page }) => {
  await page.goto('/status');
  let documents = 0;
  page.on('request', (request) => {
    if (request.isNavigationRequest()) documents += 1;
  });
  const pages = page.getByRole('navigation', { name: 'Pages' });

  await pages.getByRole('link', { name: 'Search' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Search');
  await page.goBack();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Status');
  await expect(pages.getByRole('link', { name: 'Status' })).toHaveAttribute('aria-current', 'page');
  expect(documents, 'documents loaded').toBe(0);
});

test.describe('on a phone', () => {
  test.use({ viewport: { width: 390, height: 844 }, hasTouch: true });

  test('a conversation fits the screen and leads back to the list', async ({ page, request }) => {
    const title = unique('A title that is long enough to need more than one line on a phone ');
    const { id } = await createConversation(request, title);

    await page.goto(`/c/${id}`);

    await expect(page.getByRole('heading', { level: 1 })).toHaveText(title);
    await expect(page.getByRole('button', { name: 'Send' })).toBeInViewport();
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(overflow, 'pixels beyond the right edge').toBeLessThanOrEqual(0);
    await page.getByRole('link', { name: 'All conversations' }).click();
    await expect(page.getByRole('link', { name: title })).toBeVisible();
  });
});
