import { expect, test } from '@playwright/test';
import { assetPaths, expectSecurityHeaders, headerValues } from './support/api';

const MEGABYTE = 1024 * 1024;

test('every answer carries each security header exactly once', async ({ request }) => {
  const paths = [
    '/',
    '/c/ac_nobody',
    ...(await assetPaths(request)),
    '/config.json',
    '/health',
    '/api/v1/conversations',
    '/api/v1/conversations/ac_nobody',
    '/api/no-such-thing',
    '/assets/app-00000000.js',
    '/ws', // without an upgrade: some error
  ];
  for (const path of paths) {
    const answer = await request.get(path, { maxRedirects: 0 });
    expectSecurityHeaders(answer, `GET ${path} (${answer.status()})`);
  }
});

test('assets may be cached for a year and never change', async ({ request }) => {
  for (const path of await assetPaths(request)) {
    const answer = await request.get(path);
    expect(answer.status(), path).toBe(200);
    const [value, ...more] = headerValues(answer, 'Cache-Control');
    expect(more, `more Cache-Control headers of ${path}`).toEqual([]);
    expect(value, path).toContain('public');
    expect(value, path).toContain('immutable');
    expect(value, path).toContain('max-age=31536000');
  }
});

test('the page itself is asked for again at every visit', async ({ request }) => {
  for (const path of ['/', '/index.html', '/search']) {
    const answer = await request.get(path);
    expect(answer.headers()['content-type'], path).toContain('text/html');
    expect(headerValues(answer, 'Cache-Control'), path).toEqual([expect.stringContaining('no-cache')]);
  }
});

test('config.json is JSON with the LiveKit address and is never stored', async ({ request }) => {
  const answer = await request.get('/config.json');

  expect(answer.status(), await answer.text()).toBe(200);
  expect(answer.headers()['content-type']).toMatch(/^application\/json\b/);
  expect(headerValues(answer, 'Cache-Control')).toEqual([expect.stringContaining('no-store')]);
  // Empty where the variant has no LiveKit.
  expect(await answer.json()).toEqual({ livekitUrl: expect.stringMatching(/^(wss?:\/\/.+)?$/) });
});

test('/health answers exactly what the backend promises', async ({ request }) => {
  const answer = await request.get('/health');

  expect(answer.status(), await answer.text()).toBe(200);
  expect(answer.headers()['content-type']).toMatch(/^application\/json\b/);
  expect(await answer.text()).toBe('{"status":"ok","version":"1.0.0"}\n');
});

test('the proxy refuses a body of more than 10 MB', async ({ request }) => {
  const answer = await request.post('/api/v1/conversations', {
    headers: { 'Content-Type': 'application/json' },
    data: Buffer.alloc(10 * MEGABYTE + 1, ' '),
  });

  expect(answer.status()).toBe(413);
  expect(answer.headers()['content-type'], "the proxy's own page").toContain('text/html');
  expectSecurityHeaders(answer, 'the refusal');
});

test('a body of 5 MB reaches the application', async ({ request }) => {
  const answer = await request.post('/api/v1/conversations', {
    headers: { 'Content-Type': 'application/json' },
    data: Buffer.alloc(5 * MEGABYTE, ' '),
  });

  // The application has a limit of its own (1 MiB); what matters is who answers.
  expect(answer.headers()['content-type'], await answer.text()).toMatch(/^application\/json\b/);
  expect(await answer.json()).toMatchObject({ error: 'invalid_request', code: answer.status() });
});
