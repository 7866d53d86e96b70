import { expect, test } from '@playwright/test';
import { createConversation, postMessage, unique } from './support/api';
import { timeFactor } from './support/environment';

test('the status page shows the applied migrations and the vector extension', async ({ page, request }) => {
  const answer = await request.get('/api/v1/status');
  expect(answer.status(), await answer.text()).toBe(200);
  const status = (await answer.json()) as { migrations: unknown[]; extensions: unknown[] };
  expect(status.migrations.length, 'applied migrations').toBeGreaterThan(0);

  await page.goto('/status');

  const database = page.getByRole('region', { name: 'Database' });
  await expect(database.getByText('vector', { exact: true })).toBeVisible();
  await expect(database.locator('dt:text-is("Migrations") + dd code')).toHaveCount(status.migrations.length);
  await expect(database.locator('dt:text-is("Messages") + dd')).toHaveText(/^\d+$/);
});

test('the status page shows the health of each service and the LiveKit address', async ({ page, request }) => {
  const { livekitUrl } = (await (await request.get('/config.json')).json()) as { livekitUrl: string };

  await page.goto('/status');

  const services = page.getByRole('region', { name: 'Services' });
  for (const name of ['database', 'llm', 'embedding']) {
    await expect(services.locator(`dt:text-is("${name}") + dd .mark`), name).toHaveText('healthy');
  }
  await expect(page.getByRole('region', { name: 'Configuration' })).toContainText(livekitUrl || 'none');
});

test.describe('as a user with three messages', () => {
  // A user of its own: earlier runs and other tests have messages like these.
  test.use({ extraHTTPHeaders: { 'X-User-ID': unique('reader') } });

  test('a search finds the message that is nearest in meaning', async ({ page, request }) => {
    const word = unique('word');
    const { id } = await createConversation(request, `Search ${word}`);
    const tea = `The kettle boils the water for green tea ${word}`;
    for (const contents of [`The night train to Lisbon leaves late ${word}`, tea, `Her violin needs four new strings ${word}`]) {
      await postMessage(request, id, contents);
    }
    const query = `boiling water in a kettle for tea ${word}`;
    const search = async () => {
      const answer = await request.get('/api/v1/search', { params: { q: query } });
      expect(answer.status(), await answer.text()).toBe(200);
      return ((await answer.json()) as { results: { contents: string; conversation_id: string; distance: number }[] }).results;
    };
    // Embeddings are made after the message is stored.
    await expect
      .poll(async () => (await search()).some((one) => one.contents === tea), { timeout: 30_000 * Math.sqrt(timeFactor) })
      .toBe(true);

    await page.goto('/search');
    await page.getByRole('searchbox', { name: 'Search in all messages' }).fill(query);
    await page.getByRole('button', { name: 'Search' }).click();

    const nearest = page.getByTestId('result').first();
    await expect(nearest).toContainText(`green tea ${word}`);
    await expect(nearest.getByRole('link')).toHaveAttribute('href', `/c/${id}`);
    const distances = (await search()).map((one) => one.distance);
    expect(distances, 'nearest first').toEqual([...distances].sort((a, b) => a - b));
  });
});
