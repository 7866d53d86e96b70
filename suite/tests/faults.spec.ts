import { expect, test } from '@playwright/test';

// Each in a phase of its own, while the orchestrator has a fault on: [faults] of orchestrator.toml.
test.describe('while the network is slow', { tag: '@slow-network' }, () => {
  test('an answer takes its round trip, and the database is still reached', async ({ request }) => {
    await request.get('/health');
    const begun = Date.now();
    const answer = await request.get('/api/v1/conversations');
    expect(answer.status()).toBe(200);
    expect(Date.now() - begun, 'a request and its answer travel for 100 ms each').toBeGreaterThan(190);
  });
});

test.describe('while the database is dead', { tag: '@database-dead' }, () => {
  test('the API says so, and the page and the health check still answer', async ({ request }) => {
    const answer = await request.get('/api/v1/conversations');
    expect(answer.status()).toBeGreaterThanOrEqual(500);
    expect((await request.get('/')).status()).toBe(200);
    expect((await request.get('/health')).status()).toBe(200);
  });
});
