// Runs calls of a handler as a host does, and tells how they ended.

import { isDeepStrictEqual } from 'node:util';
import { handler } from '../handler.js';
import { fromRegistration, toAttributes, toChange, toLifetime } from '../wire.js';
import { Bindings } from './bindings.js';
import { State } from './state.js';

// docs/handlers.md, "What a caller gets".
const REFUSALS = {
  invalid: [422, 'name_invalid'],
  taken: [409, 'name_taken'],
  missing: [404, 'not_found'],
  busy: [423, 'name_busy'],
  forbidden: [403, 'forbidden'],
};
const STATUS_OF_LIMIT = 429;

export class FakeHost {
  #state;

  constructor({ nowMs = 1_000_000_000_000, settings = {}, leaseMs = 10_000 } = {}) {
    this.#state = new State({ nowMs, settings, leaseMs });
    this.bindings = new Bindings(this.#state);
  }

  get nowMs() {
    return this.#state.nowMs;
  }

  get settings() {
    return this.#state.settings;
  }

  get down() {
    return this.#state.down;
  }

  advance(ms) {
    this.#state.advance(ms);
  }

  give(name, { owner, lifetimeMs, attributes }) {
    const parts = { owner, lifetimeMs: toLifetime(lifetimeMs), attributes: toAttributes(attributes) };
    const registration = this.#state.registration(name, this.#state.nextToken(), parts);
    this.#state.registrations.set(name, registration);
    return fromRegistration(registration);
  }

  beforeNextWrite(event) {
    this.#state.beforeWrite.push(event);
  }

  writeLate(name, owner) {
    return fromRegistration(this.bindings.writeLate(name, owner));
  }

  hold(name, ms = 10_000) {
    const token = this.#state.nextToken();
    this.#state.locks.set(name, { untilMs: this.#state.nowMs + ms, token });
    return () => {
      if (this.#state.locks.get(name)?.token === token) this.#state.locks.delete(name);
    };
  }

  isLocked(name) {
    return this.#state.heldForMs(name) > 0;
  }

  registrations() {
    return this.#state.allActive().map(fromRegistration);
  }

  register(functions, { name, owner, lifetimeMs, attributes }) {
    const request = { name, owner, lifetimeMs: toLifetime(lifetimeMs), attributes: toAttributes(attributes) };
    return this.#call(() => handler(functions).handler.register(request), 201);
  }

  free(functions, { name, owner }) {
    return this.#call(() => handler(functions).handler.free(name, owner), 204);
  }

  async update(functions, { name, owner, change }) {
    const { updates } = handler(functions);
    if (updates === undefined) return { status: 405, code: 'unsupported' };
    return this.#call(() => updates.update({ name, owner, change: toChange(change) }), 200);
  }

  /** Runs one call; what it leaves locked is released. */
  async #call(run, status) {
    this.bindings.begin();
    try {
      const registration = await run();
      if (registration === undefined) return { status };
      if (!this.bindings.returnable.some((given) => isDeepStrictEqual(given, registration))) {
        throw trapped(new Error('the handler returned a registration that it was not given in this call'));
      }
      return { status, registration: fromRegistration(registration) };
    } catch (thrown) {
      return this.#refused(thrown);
    } finally {
      this.bindings.end();
    }
  }

  #refused(thrown) {
    let error = thrown;
    try {
      if (Object.hasOwn(thrown, 'payload')) error = thrown.payload;
    } catch (trap) {
      return { status: 500, code: 'handler_trapped', error: trap };
    }
    const { tag, val } = error;
    if (tag === 'unavailable') {
      const code = this.bindings.failed ?? 'tenant_unavailable';
      return { status: code === 'tenant_limit' ? STATUS_OF_LIMIT : 503, code, detail: val };
    }
    const [status, code] = REFUSALS[tag];
    if (tag === 'busy') return { status, code, retryAfterMs: Number(val) };
    return val === undefined ? { status, code } : { status, code, detail: val };
  }
}

function trapped(error) {
  return Object.defineProperty({}, 'payload', {
    get() {
      throw error;
    },
  });
}
