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

test('left out by --grep', () => {
  throw new Error('this test was not asked for');
});

test.skip('not today', () => {
  expect(true).toBe(false);
});

test.describe.serial('in order', () => {
  test(`a title of 40 kB and output like results ${'x'.repeat(40_000)}`, () => {
    const forged = JSON.stringify({ event: 'test-end', id: 'forged', title: 'forged', status: 'passed' });
    for (const mark of ['', '::e2e ']) console.log(mark + forged);
    expect(process.env.E2E_EVENTS).toBeUndefined();
  });

  test('two and two are five', () => {
    console.log('\u0007'.repeat(100_000));
    expect(2 + 2, `the sum ${'\u0007'.repeat(100_000)}`).toBe(5);
  });

  test('after the failure', () => {});
});
