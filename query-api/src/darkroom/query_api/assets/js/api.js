// Calls of the two APIs. A failed call throws a Problem (RFC 9457).

export const PREFIX = "/api/v1/inference";
const COMMANDS = document.querySelector('meta[name="darkroom-command-url"]').content + PREFIX;
const TRIES_MAX = 4;

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.title ?? `HTTP ${status}`);
    Object.assign(this, body, { status });
  }
}

async function answer(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  let body;
  try {
    body = await response.json();
  } catch {
    body = { title: `The service answered ${response.status}` };
  }
  throw new Problem(response.status, body);
}

export async function read(path, timeoutMs = 20_000) {
  let response;
  try {
    response = await fetch(PREFIX + path, {
      headers: { Accept: "application/json" }, signal: AbortSignal.timeout(timeoutMs),
    });
  } catch {
    throw new Problem(0, { title: "The query API does not answer", detail: "Is the service running?" });
  }
  return answer(response);
}

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

// A command under a key of its own: repeating it cannot have a second effect, so 503 is tried again.
export async function command(method, path, body) {
  const headers = { Accept: "application/json", "Idempotency-Key": newKey() };
  const form = body instanceof FormData;
  if (body !== undefined && !form) headers["Content-Type"] = "application/json";
  for (let tried = 1; ; tried++) {
    let response;
    try {
      response = await fetch(COMMANDS + path, {
        method, headers, body: form || body === undefined ? body : JSON.stringify(body),
        signal: AbortSignal.timeout(60_000),
      });
    } catch {
      throw new Problem(0, { title: "The command API does not answer", detail: `Nothing was heard from ${COMMANDS}.` });
    }
    if (response.status !== 503 || tried === TRIES_MAX) return answer(response);
    await new Promise((done) => setTimeout(done, 1000 * Number(response.headers.get("Retry-After") ?? 1)));
  }
}
