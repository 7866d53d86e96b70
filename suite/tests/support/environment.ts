/** The variable's value, or the default if it is unset or empty. */
export function env(name: string, otherwise: string): string {
  return process.env[name] || otherwise;
}

/** How much slower than real hardware this machine is; at least 1. */
export const timeFactor = Math.max(1, Number(env('E2E_TIME_FACTOR', '1')) || 1);

/** The real application at the pinned commit has no WebSocket. */
export const withoutWebSocket = env('E2E_NO_WEBSOCKET', '') === '1';
