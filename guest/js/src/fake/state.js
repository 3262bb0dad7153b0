// What outlives a call: registrations, locks, the clock.

import { Buffer } from 'node:buffer';

export class State {
  constructor({ nowMs, settings, leaseMs }) {
    this.nowMs = nowMs;
    this.settings = settings;
    this.leaseMs = leaseMs;
    this.down = { locks: false, names: false };
    this.registrations = new Map();
    this.locks = new Map();
    this.token = 0n;
    this.beforeWrite = [];
  }

  advance(ms) {
    this.nowMs += ms;
  }

  /** A fencing token above all before. The one below it is given to nobody, so that another call can have had it. */
  nextToken() {
    this.token += 2n;
    return this.token;
  }

  /** For how many more milliseconds somebody holds the lock on the name. */
  heldForMs(name) {
    return Math.max(0, (this.locks.get(name)?.untilMs ?? 0) - this.nowMs);
  }

  registration(name, fencingToken, { owner, lifetimeMs, attributes }) {
    const createdMs = BigInt(this.nowMs);
    const expiresMs = lifetimeMs === undefined ? undefined : createdMs + lifetimeMs;
    return { name, owner, createdMs, expiresMs, fencingToken, attributes };
  }

  active(name) {
    const found = this.registrations.get(name);
    const ended = found === undefined || (found.expiresMs !== undefined && found.expiresMs <= BigInt(this.nowMs));
    return ended ? undefined : found;
  }

  /** All active registrations in the order of the names' bytes. */
  allActive() {
    return [...this.registrations.keys()]
      .map((name) => this.active(name))
      .filter((registration) => registration !== undefined)
      .sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  }
}
