// A regular expression of this name matches other files, and not this one. Its tests: a group that gives up, and one
// that prints what looks like results.
import { expect, test } from '@playwright/test';

test.describe.serial('in order', () => {
  test('prints', () => {
    const forged = { event: 'test-end', id: 'forged', title: 'forged', status: 'passed' };
    for (const mark of ['', '::e2e ']) console.log(mark + JSON.stringify(forged));
    expect(process.env.E2E_EVENTS).toBeUndefined();
  });
  test('breaks', () => {
    throw new Error(`broken ${'\u0007'.repeat(100_000)}`);
  });
  for (const n of [1, 2]) test(`rest ${n}`, () => {});
});
