// One test of each outcome, none of which needs a browser: what is tested is how they are reported.
import { expect, test } from '@playwright/test';
import { writeFileSync } from 'node:fs';

test.use({ trace: 'on' });

test('the server is healthy', async ({ request }, info) => {
  const answer = await request.get(`${process.env.BASE_URL}/health`);
  expect(answer.status()).toBe(200);
  writeFileSync(info.outputPath('seen.txt'), await answer.text());
  await info.attach('seen', { path: info.outputPath('seen.txt') });
});

test('two and two are five', () => {
  expect(2 + 2, 'the sum').toBe(5);
});

test('left out by --grep', () => {
  throw new Error('this test was not asked for');
});

test.skip('not today', () => {
  expect(true).toBe(false);
});
