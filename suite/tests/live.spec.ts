import { expect, test } from '@playwright/test';
import { createConversation, postMessage, unique } from './support/api';
import { timeFactor, withoutWebSocket } from './support/environment';

test.describe('with a WebSocket', { tag: '@websocket' }, () => {
  test.skip(withoutWebSocket, 'E2E_NO_WEBSOCKET=1: this application has none');

  test('a message posted elsewhere appears at once, without reload and without polling', async ({ page, request }) => {
    const { id } = await createConversation(request, unique('Live '));
    await page.goto(`/c/${id}`);
    await expect(page.getByTestId('connection')).toHaveAttribute('data-state', 'live');
    await expect(page.getByRole('textbox', { name: 'Message' })).toBeVisible();
    await page.waitForLoadState('networkidle'); // the one fetch that going live causes
    const fetched: string[] = [];
    page.on('request', (sent) => fetched.push(`${sent.method()} ${sent.url()}`));

    const text = `Posted from elsewhere ${unique('')}`;
    await postMessage(request, id, text);

    await expect(page.getByTestId('message').filter({ hasText: text }).first()).toBeVisible();
    await expect(page.getByTestId('message')).toHaveCount(2);
    expect(fetched).toEqual([]);
  });

  test('a ping is answered with a pong through the proxy', async ({ page, baseURL }) => {
    await page.goto('/config.json'); // any page of the server's origin, the cheapest there is
    const url = `${baseURL!.replace(/^http/, 'ws')}/ws`;
    const limit = 10_000 * Math.sqrt(timeFactor);

    const received = await page.evaluate(
      ([address, patience]) =>
        new Promise<string[]>((resolve, reject) => {
          const types: string[] = [];
          const socket = new WebSocket(address);
          setTimeout(() => reject(new Error(`no pong in ${patience} ms, received: ${types.join(', ') || 'nothing'}`)), patience);
          socket.onerror = () => reject(new Error(`the WebSocket ${address} failed`));
          socket.onmessage = (event) => {
            types.push((JSON.parse(event.data as string) as { type: string }).type);
            if (types.at(-1) === 'connected') socket.send(JSON.stringify({ type: 'ping' }));
            if (types.at(-1) === 'pong') resolve(types);
          };
        }),
      [url, limit] as const,
    );

    expect(received).toEqual(['connected', 'pong']);
  });
});

test('without a WebSocket an answer still arrives', async ({ page, request }) => {
  await page.routeWebSocket(/\/ws$/, (socket) => socket.close());
  const { id } = await createConversation(request, unique('Polled '));
  await page.goto(`/c/${id}`);
  await expect(page.getByTestId('connection')).toHaveAttribute('data-state', 'offline');

  await page.getByRole('textbox', { name: 'Message' }).fill('Is anybody there?');
  await page.getByRole('textbox', { name: 'Message' }).press('Enter');

  await expect(page.getByTestId('message')).toHaveCount(2);
  await expect(page.getByTestId('message').last()).toHaveAttribute('data-role', 'assistant');
});

test('the banner goes away when the server is back', async ({ page }) => {
  const badGateway = { status: 502, contentType: 'text/html', body: '<h1>502 Bad Gateway</h1>' };
  await page.route(/\/(api|health)/, (route) => route.fulfill(badGateway));
  await page.goto('/search?q=anything');
  await expect(page.getByTestId('backend-down')).toBeVisible();

  await page.unrouteAll();

  await expect(page.getByTestId('backend-down')).toBeHidden();
  await expect(page.getByRole('status').filter({ hasText: /^\d+ messages?$/ })).toBeVisible();
});
