import { expect, type APIRequestContext, type APIResponse } from '@playwright/test';

export type Conversation = { id: string; title: string; user_id: string; status: string };
export type Message = {
  id: string;
  conversation_id: string;
  role: string;
  contents: string;
  sequence_number: number;
};

/** A text no other test and no earlier run has used; one word of letters and digits. */
export function unique(prefix: string): string {
  return `${prefix}${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
}

/** Create a conversation behind the browser's back; `user` is sent as X-User-ID. */
export async function createConversation(
  request: APIRequestContext,
  title: string,
  user?: string,
): Promise<Conversation> {
  const answer = await request.post('/api/v1/conversations', {
    data: { title },
    headers: user ? { 'X-User-ID': user } : {},
  });
  expect(answer.status(), await answer.text()).toBe(201);
  return (await answer.json()) as Conversation;
}

export async function postMessage(request: APIRequestContext, conversation: string, contents: string): Promise<Message> {
  const answer = await request.post(`/api/v1/conversations/${conversation}/messages`, { data: { contents } });
  expect(answer.status(), await answer.text()).toBe(201);
  return (await answer.json()) as Message;
}

export async function messagesOf(request: APIRequestContext, conversation: string): Promise<Message[]> {
  const answer = await request.get(`/api/v1/conversations/${conversation}/messages`);
  expect(answer.status(), await answer.text()).toBe(200);
  return ((await answer.json()) as { messages: Message[] }).messages;
}

/** Paths of the script and the style sheet that the page names. */
export async function assetPaths(request: APIRequestContext): Promise<string[]> {
  const html = await (await request.get('/')).text();
  const paths = [...html.matchAll(/(?:src|href)="(\/assets\/[^"]+\.(?:js|css))"/g)].map((match) => match[1]!);
  expect(paths, `no assets in:\n${html}`).not.toHaveLength(0);
  return paths;
}

/** Every value of a header, one entry for each time it was sent. */
export function headerValues(answer: APIResponse, name: string): string[] {
  return answer
    .headersArray()
    .filter((header) => header.name.toLowerCase() === name.toLowerCase())
    .map((header) => header.value);
}

const SECURITY_HEADERS = {
  'X-Frame-Options': 'SAMEORIGIN',
  'X-Content-Type-Options': 'nosniff',
  'X-XSS-Protection': '1; mode=block',
};

/** Each security header is there exactly once, and there is at most one Cache-Control. */
export function expectSecurityHeaders(answer: APIResponse, what: string): void {
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
    expect.soft(headerValues(answer, name), `${name} of ${what}`).toEqual([value]);
  }
  expect.soft(headerValues(answer, 'Cache-Control').length, `number of Cache-Control headers of ${what}`).toBeLessThanOrEqual(1);
}
