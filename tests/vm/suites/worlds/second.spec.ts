// Leaves something behind, and must not find what its twin left: each file is run in a world of its own.
import { expect, test } from '@playwright/test';

const conversations = `${process.env.BASE_URL}/api/v1/conversations`;

test('the second file finds nothing and leaves a conversation', async ({ request }) => {
  const before = await (await request.get(conversations)).json();
  expect(JSON.stringify(before)).not.toContain('left behind');
  const made = await request.post(conversations, { data: { title: 'left behind' } });
  expect(made.ok()).toBe(true);
});
