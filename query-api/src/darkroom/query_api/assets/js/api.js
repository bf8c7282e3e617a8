// Calls of the two APIs. A failed call throws a Problem (RFC 9457).

export const PREFIX = "/api/v1/inference";
const COMMANDS = document.querySelector('meta[name="darkroom-command-url"]').content + PREFIX;
const TRIES_MAX = 4;
const TIMEOUT_MS = 60_000;
const PAUSE_MS = 1000;

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

// A command under its key: repeating it cannot have a second effect, so 503 and a lost answer are tried again.
export async function command(method, path, body, key = newKey()) {
  const headers = { Accept: "application/json", "Idempotency-Key": key };
  const ends = Date.now() + TIMEOUT_MS; // no new try after this
  const form = body instanceof FormData;
  if (body !== undefined && !form) headers["Content-Type"] = "application/json";
  for (let tried = 1; ; tried++) {
    let response;
    try {
      response = await fetch(COMMANDS + path, {
        method, headers, body: form || body === undefined ? body : JSON.stringify(body),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch {
      if (tried === TRIES_MAX || Date.now() > ends) {
        throw new Problem(0, { title: "The command API does not answer", detail: `Nothing was heard from ${COMMANDS}.` });
      }
    }
    if (response && (response.status !== 503 || tried === TRIES_MAX)) return answer(response);
    const wait = PAUSE_MS * Number(response?.headers.get("Retry-After") ?? 1);
    await new Promise((done) => setTimeout(done, wait));
  }
}
