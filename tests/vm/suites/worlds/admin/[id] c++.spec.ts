// Leaves something behind, and must not find what its twin left: each file is run in a world of its own.
import { expect, test } from '@playwright/test';
import { randomUUID } from 'node:crypto';

const conversations = `${process.env.BASE_URL}/api/v1/conversations`;

test('the second file finds nothing and leaves a conversation', async ({ request, page }) => {
  const before = await (await request.get(conversations)).json();
  expect(JSON.stringify(before)).not.toContain('left behind');
  const made = await request.post(conversations, { data: { title: 'left behind' } });
  expect(made.ok()).toBe(true);
  // For the two worlds to be compared: they begin from one state, and must not draw the same numbers.
  const drawn = await page.evaluate(() => [Math.random(), ...crypto.getRandomValues(new Uint32Array(2))]);
  console.log(`drawn ${JSON.stringify({ in: process.title, numbers: [randomUUID(), Math.random(), ...drawn] })}`);
});
