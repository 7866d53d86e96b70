// The browser side of the stand-in application: conversations, search, status.
//
// One module, no build step, no dependency. Every text that comes from the
// server is put in as text, never as markup. Plain http on a host name is not a
// secure context, so nothing here needs one.

const API = '/api/v1';
const POLL_MS = 3000; // messages, while there is no WebSocket
const PROBE_MS = 2000; // /health, while the backend is away
const PING_MS = 25000;
const RETRY_MS = [500, 1000, 2000, 5000, 15000]; // pauses between WebSocket attempts

// ---------------------------------------------------------------- DOM

/** Make an element; keys starting with `on` are listeners, `undefined` and `false` leave an attribute out. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const link = (href, attributes, ...children) => h('a', { href, 'data-link': true, ...attributes }, ...children);

function localTime(iso) {
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? '' : at.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
}

// ---------------------------------------------------------------- backend

class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status; // 0: no answer at all
  }
}

/** Knows whether the backend answers; while it does not, asks /health until it does. */
const backend = {
  down: false,
  listeners: new Set(),

  report(isDown) {
    if (this.down === isDown) return;
    this.down = isDown;
    for (const listener of this.listeners) listener(isDown);
    if (isDown) this.probe();
  },

  probe() {
    setTimeout(async () => {
      const answer = await fetch('/health', { cache: 'no-store' }).catch(() => null);
      if (answer?.ok) this.report(false);
      else this.probe();
    }, PROBE_MS);
  },
};

/**
 * Call the backend and return its JSON.
 * Rejects with an ApiError for every answer that is not 2xx, except those in `accept`.
 */
async function call(path, { method = 'GET', body, signal, accept = [] } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      signal,
      cache: 'no-store',
      headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted) throw error; // the reader went elsewhere
    backend.report(true);
    throw new ApiError(0, 'The server does not answer.');
  }
  const isJson = (answer.headers.get('content-type') ?? '').includes('json');
  // A proxy without its backend answers in HTML; the backend's own 503 (unhealthy) is JSON.
  const gone = [502, 503, 504].includes(answer.status) && !isJson;
  // What the proxy answers by itself says nothing about the backend.
  if (gone || path !== '/config.json') backend.report(gone);
  const content = isJson ? await answer.json() : null;
  if (!answer.ok && !accept.includes(answer.status)) {
    throw new ApiError(answer.status, content?.message ?? `The server answered ${answer.status}.`);
  }
  return content;
}

// ---------------------------------------------------------------- live updates

/** A WebSocket that comes back by itself. State: connecting, live, offline. */
class Live {
  constructor({ onMessage, onSubscribed }) {
    this.onMessage = onMessage;
    this.onSubscribed = onSubscribed;
    this.state = 'connecting';
    this.listeners = new Set();
    this.failures = 0;
    this.conversation = null;
    this.connect();
  }

  setState(state) {
    if (this.state === state) return;
    this.state = state;
    for (const listener of this.listeners) listener(state);
  }

  connect() {
    clearTimeout(this.retry);
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    this.socket = socket;
    socket.addEventListener('message', (event) => this.receive(event.data));
    socket.addEventListener('close', () => {
      clearInterval(this.pinger);
      this.setState('offline');
      const pause = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)];
      this.failures += 1;
      this.retry = setTimeout(() => this.connect(), pause);
    });
  }

  /** Try at once instead of after the pause. */
  hurry() {
    this.failures = 0;
    if (this.socket.readyState === WebSocket.CLOSED) this.connect();
  }

  receive(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return; // not of this protocol
    }
    if (message.type === 'connected') {
      this.failures = 0;
      this.pinger = setInterval(() => this.send({ type: 'ping' }), PING_MS);
      if (this.conversation) this.send({ type: 'subscribe', conversation_id: this.conversation });
      this.setState('live');
    } else if (message.type === 'message' && message.message) {
      this.onMessage(message.message);
    } else if (message.type === 'subscribed') {
      this.onSubscribed(message.conversation_id);
    }
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** Listen to this conversation and no other; null for none. */
  watch(conversation) {
    const before = this.conversation;
    this.conversation = conversation;
    if (this.state !== 'live') return; // `connected` will ask
    if (before) this.send({ type: 'unsubscribe', conversation_id: before });
    if (conversation) this.send({ type: 'subscribe', conversation_id: conversation });
  }
}

let openConversation = null; // the view that wants messages, if one is shown
const live = new Live({
  onMessage(message) {
    if (message.conversation_id === openConversation?.id) openConversation.add([message]);
  },
  // Only from now on nothing is missed; what came before is fetched.
  onSubscribed(id) {
    if (id === openConversation?.id) openConversation.refresh();
  },
});

// ---------------------------------------------------------------- frame

const banner = h('div', { class: 'banner', role: 'alert', 'data-testid': 'backend-down', hidden: true });
const connection = h('span', { class: 'connection', role: 'status', 'data-testid': 'connection' });
const list = h('ul', { class: 'conversations', 'aria-label': 'Conversations' });
const listNote = h('p', { class: 'note', role: 'status' });
const main = h('main', { id: 'main' });
const titleInput = h('input', {
  id: 'new-title', name: 'title', required: true, maxlength: 500, autocomplete: 'off', placeholder: 'What is it about?',
});
const createError = h('p', { class: 'error', role: 'alert' });
const createForm = h('form', { class: 'create', 'aria-label': 'New conversation', onsubmit: createConversation },
  h('label', { for: 'new-title' }, 'New conversation'),
  h('div', { class: 'row' }, titleInput, h('button', { type: 'submit' }, 'Create')),
  createError);

function frame() {
  const page = h('div', { class: 'page' },
    h('a', { class: 'skip', href: '#main' }, 'Skip to the content'),
    h('header', { class: 'top' },
      link('/', { class: 'brand', 'aria-label': 'Alicia, start page' }, h('span', { class: 'logo', 'aria-hidden': 'true' }, 'A'), 'Alicia'),
      h('nav', { 'aria-label': 'Pages' },
        link('/', { 'data-page': '/' }, 'Chat'), link('/search', { 'data-page': '/search' }, 'Search'),
        link('/status', { 'data-page': '/status' }, 'Status')),
      connection),
    banner,
    h('div', { class: 'body' },
      h('aside', { class: 'side', 'aria-label': 'Your conversations' }, createForm, listNote, list), main));
  document.getElementById('root').replaceChildren(page);
  showConnection(live.state);
}

function showConnection(state) {
  const text = { connecting: 'Connecting…', live: 'Live', offline: 'Not live' }[state];
  connection.dataset.state = state;
  connection.textContent = text;
  connection.title = state === 'offline' ? 'No WebSocket: new messages are fetched every few seconds.' : '';
}

async function createConversation(event) {
  event.preventDefault();
  createError.textContent = '';
  try {
    const made = await call(`${API}/conversations`, { method: 'POST', body: { title: titleInput.value } });
    titleInput.value = '';
    navigate(`/c/${encodeURIComponent(made.id)}`);
    await loadList();
  } catch (error) {
    createError.textContent = error.message;
  }
}

async function loadList() {
  try {
    const { conversations } = await call(`${API}/conversations`);
    list.replaceChildren(...conversations.map((one) => h('li', {},
      link(`/c/${encodeURIComponent(one.id)}`, {},
        h('span', { class: 'title' }, one.title), h('time', { datetime: one.created_at, 'aria-hidden': 'true' }, localTime(one.created_at))))));
    listNote.textContent = conversations.length ? '' : 'No conversations yet.';
    markCurrent();
  } catch (error) {
    listNote.textContent = error.message;
  }
}

function markCurrent() {
  for (const anchor of document.querySelectorAll('.conversations a, nav a')) {
    const current = anchor.dataset.page === '/'
      ? location.pathname === '/' || location.pathname.startsWith('/c/')
      : new URL(anchor.href).pathname === location.pathname;
    if (current) anchor.setAttribute('aria-current', 'page');
    else anchor.removeAttribute('aria-current');
  }
}

// ---------------------------------------------------------------- views: (main, signal, …groups of the route) → title

function homeView() {
  main.replaceChildren(h('section', { class: 'empty' },
    h('h1', { tabindex: -1 }, 'Talk to Alicia'),
    h('p', {}, 'Create a conversation, or open one of the list.')));
  return 'Alicia';
}

function conversationView(signal, rawId) {
  const id = decodeURIComponent(rawId);
  const base = `${API}/conversations/${encodeURIComponent(id)}`;
  const heading = h('h1', { tabindex: -1 }, 'Conversation');
  const log = h('ol', { class: 'messages', role: 'log', 'aria-label': 'Messages' });
  const waiting = h('p', { class: 'note', role: 'status', 'data-testid': 'awaiting' });
  const input = h('textarea', {
    id: 'message', name: 'message', rows: 2, required: true, placeholder: 'Write a message', 'aria-label': 'Message',
    onkeydown: (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    },
  });
  const button = h('button', { type: 'submit' }, 'Send');
  const failure = h('p', { class: 'error', role: 'alert' });
  const form = h('form', { class: 'send', 'aria-label': 'Send a message', onsubmit: send }, input, button, failure);
  const messages = new Map();

  function add(fresh) {
    for (const message of fresh) messages.set(message.id, message);
    const sorted = [...messages.values()].sort((a, b) => a.sequence_number - b.sequence_number);
    const shown = new Map([...log.children].map((item) => [item.dataset.id, item]));
    // Only new items are made: a log that is rebuilt would be read out again as a whole.
    sorted.forEach((message, index) => {
      const item = shown.get(message.id) ?? messageItem(message);
      if (log.children[index] !== item) log.insertBefore(item, log.children[index] ?? null);
      item.querySelector('.contents').textContent = message.contents || 'No answer: the language model did not reply.';
    });
    waiting.textContent = sorted.at(-1)?.role === 'user' ? 'Alicia is thinking…' : '';
    if (fresh.length) log.lastElementChild?.scrollIntoView({ block: 'end' });
  }

  async function refresh() {
    try {
      add((await call(`${base}/messages`, { signal })).messages);
    } catch (error) {
      if (!signal.aborted && error.status > 0 && error.status < 500) failure.textContent = error.message;
    }
  }

  async function send(event) {
    event.preventDefault();
    if (!input.value.trim() || button.disabled) return;
    button.disabled = true;
    failure.textContent = '';
    try {
      add([await call(`${base}/messages`, { method: 'POST', body: { contents: input.value } })]);
      input.value = '';
    } catch (error) {
      failure.textContent = error.message;
    } finally {
      button.disabled = false;
      input.focus();
    }
  }

  async function load() {
    try {
      const conversation = await call(base, { signal });
      if (signal.aborted) return;
      heading.textContent = conversation.title;
      document.title = `${conversation.title} · Alicia`;
      openConversation = { id, add, refresh };
      live.watch(id);
      await refresh();
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404) main.replaceChildren(missing('This conversation does not exist', 'It was deleted, or it belongs to somebody else.'));
      else failure.textContent = error.message;
    }
  }

  const poll = setInterval(() => live.state !== 'live' && !backend.down && refresh(), POLL_MS);
  signal.addEventListener('abort', () => {
    clearInterval(poll);
    live.watch(null);
    openConversation = null;
  });
  main.replaceChildren(h('section', { class: 'conversation' },
    h('div', { class: 'heading' }, link('/', { class: 'back', 'aria-label': 'All conversations' }, '‹'), heading), log, waiting, form));
  load();
  return 'Conversation · Alicia';
}

function messageItem(message) {
  const mine = message.role === 'user';
  return h('li', { class: mine ? 'mine' : 'theirs', 'data-testid': 'message', 'data-role': message.role, 'data-id': message.id },
    h('span', { class: 'who' }, mine ? 'You' : 'Alicia'), h('p', { class: 'contents' }),
    h('time', { datetime: message.created_at }, localTime(message.created_at)));
}

function searchView(signal) {
  const asked = new URLSearchParams(location.search).get('q') ?? '';
  const input = h('input', { id: 'q', name: 'q', type: 'search', required: true, value: asked, placeholder: 'Meaning, not only words' });
  const note = h('p', { class: 'note', role: 'status' });
  const results = h('ol', { class: 'results', 'aria-label': 'Results' });
  const form = h('form', {
    class: 'row', role: 'search',
    onsubmit: (event) => {
      event.preventDefault();
      navigate(`/search?q=${encodeURIComponent(input.value)}`);
    },
  }, h('label', { for: 'q', class: 'hidden' }, 'Search in all messages'), input, h('button', { type: 'submit' }, 'Search'));
  main.replaceChildren(h('section', { class: 'sheet' }, h('h1', { tabindex: -1 }, 'Search'), form, note, results));

  async function load() {
    note.textContent = 'Searching…';
    try {
      const found = (await call(`${API}/search?q=${encodeURIComponent(asked)}`, { signal })).results;
      note.textContent = found.length === 1 ? '1 message' : `${found.length} messages`;
      results.replaceChildren(...found.map((one) => h('li', { 'data-testid': 'result' },
        link(`/c/${encodeURIComponent(one.conversation_id)}`, {}, one.contents),
        h('span', { class: 'distance' }, `distance ${Number(one.distance).toFixed(3)}`))));
    } catch (error) {
      if (!signal.aborted) note.textContent = error.message;
    }
  }
  if (asked) load();
  return 'Search · Alicia';
}

function statusView(signal) {
  const part = (title, testId, path, show, accept) => {
    const body = h('div', { 'data-testid': testId }, h('p', { class: 'note' }, 'Loading…'));
    call(path, { signal, accept }).then(
      (content) => body.replaceChildren(...show(content)),
      (error) => signal.aborted || body.replaceChildren(h('p', { class: 'error' }, error.message)));
    return h('section', { class: 'card', 'aria-label': title }, h('h2', {}, title), body);
  };
  const facts = (pairs) => h('dl', {}, pairs.map(([name, ...values]) => h('div', {}, h('dt', {}, name), h('dd', {}, ...values))));
  const names = (items) => items.map((item) => h('code', {}, typeof item === 'string' ? item : item.name ?? item.version ?? JSON.stringify(item)));
  main.replaceChildren(h('section', { class: 'sheet' }, h('h1', { tabindex: -1 }, 'Status'),
    h('div', { class: 'cards' },
      part('Services', 'services', '/health/detailed', (health) => [
        h('p', { class: 'mark', 'data-status': health.status }, health.status),
        facts(Object.entries(health.services).map(([name, service]) => [
          name, h('span', { class: 'mark', 'data-status': service.status }, service.status), ` ${service.latency_ms} ms`])),
      ], [503]),
      part('Database', 'database', `${API}/status`, (status) => [facts([
        ['Migrations', ...names(status.migrations)], ['Extensions', ...names(status.extensions)],
        ['Messages', String(status.messages)], ['Embeddings', String(status.embeddings)]])]),
      part('Configuration', 'configuration', '/config.json', (config) => [facts([['LiveKit', config.livekitUrl ? h('code', {}, config.livekitUrl) : 'none']])]))));
  return 'Status · Alicia';
}

function missing(title, text) {
  return h('section', { class: 'empty' }, h('h1', { tabindex: -1 }, title), h('p', {}, text), h('p', {}, link('/', {}, 'Back to the start page')));
}

// ---------------------------------------------------------------- routes

const ROUTES = [[/^\/$/, homeView], [/^\/c\/([^/]+)$/, conversationView], [/^\/search$/, searchView], [/^\/status$/, statusView]];
let scope = new AbortController();

function render() {
  scope.abort();
  scope = new AbortController();
  const [pattern, view] = ROUTES.find(([candidate]) => candidate.test(location.pathname)) ?? [];
  document.body.dataset.view = view?.name ?? 'missing';
  if (view) document.title = view(scope.signal, ...pattern.exec(location.pathname).slice(1));
  else main.replaceChildren(missing('Page not found', `There is nothing at ${location.pathname}.`));
  markCurrent();
}

function navigate(path) {
  history.pushState(null, '', path);
  render();
  main.querySelector('h1')?.focus({ preventScroll: true });
}

document.addEventListener('click', (event) => {
  const anchor = event.target.closest?.('a[data-link]');
  if (!anchor || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  navigate(anchor.getAttribute('href'));
});
addEventListener('popstate', render);

live.listeners.add(showConnection);
backend.listeners.add((isDown) => {
  banner.hidden = !isDown;
  banner.textContent = isDown ? 'The server is not available right now. Trying again…' : '';
  if (isDown) return;
  live.hurry();
  loadList();
  // What was typed must survive; a conversation refreshes itself once it is live or polled.
  if (!openConversation) render();
});

frame();
render();
loadList();
