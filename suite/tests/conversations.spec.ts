import { expect, test } from '@playwright/test';
import { createConversation, messagesOf, unique } from './support/api';

test('a created conversation is still there after a reload', async ({ page }) => {
  const title = unique('Kept ');
  await page.goto('/');
  await page.getByLabel('New conversation').getByRole('textbox').fill(title);
  await page.getByRole('button', { name: 'Create' }).click();
  await expect(page).toHaveURL(/\/c\/ac_[\w-]+$/);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(title);

  await page.reload();

  await expect(page.getByRole('heading', { level: 1 })).toHaveText(title);
  await expect(page.getByRole('list', { name: 'Conversations' }).getByRole('link', { name: title })).toBeVisible();
});

test('a message that is sent is stored, answered, and its answer shown', async ({ page, request }) => {
  const { id } = await createConversation(request, unique('Answered '));
  const text = `Good morning, ${unique('Alicia')}`;
  await page.goto(`/c/${id}`);

  await page.getByRole('textbox', { name: 'Message' }).fill(text);
  await page.getByRole('button', { name: 'Send' }).click();

  const messages = page.getByRole('log', { name: 'Messages' }).getByTestId('message');
  await expect(messages).toHaveCount(2);
  await expect(messages.nth(0)).toHaveAttribute('data-role', 'user');
  await expect(messages.nth(0)).toContainText(text);
  await expect(messages.nth(1)).toHaveAttribute('data-role', 'assistant');
  await expect(page.getByRole('textbox', { name: 'Message' })).toHaveValue('');
  await expect(page.getByTestId('awaiting')).toBeEmpty();

  const stored = await messagesOf(request, id);
  expect(stored.map((one) => [one.sequence_number, one.role])).toEqual([[1, 'user'], [2, 'assistant']]);
  expect(stored[0]!.contents).toBe(text);
  expect(stored[1]!.contents, 'the answer of the language model').not.toBe('');
  await expect(messages.nth(1)).toContainText(stored[1]!.contents);
});

test('a conversation without a title is refused', async ({ request }) => {
  const answer = await request.post('/api/v1/conversations', { data: { title: '  ' } });

  expect(answer.headers()['content-type'], await answer.text()).toMatch(/^application\/json\b/);
  expect(answer.status()).toBe(400);
  expect(await answer.json()).toMatchObject({ error: 'validation_error', message: 'Title is required', code: 400 });
});

test("a user does not see another user's conversations", async ({ request }) => {
  const [ann, bob] = [unique('ann'), unique('bob')];
  const conversation = await createConversation(request, unique('Private '), ann);
  expect(conversation.user_id).toBe(ann);
  const listFor = async (user: string) => {
    const answer = await request.get('/api/v1/conversations', { headers: { 'X-User-ID': user } });
    return ((await answer.json()) as { conversations: { id: string }[] }).conversations.map((one) => one.id);
  };

  expect(await listFor(ann)).toEqual([conversation.id]);
  expect(await listFor(bob)).toEqual([]);
  for (const path of ['', '/messages']) {
    const answer = await request.get(`/api/v1/conversations/${conversation.id}${path}`, { headers: { 'X-User-ID': bob } });
    expect(answer.status(), `GET …${path} as another user`).toBe(404);
  }
});
