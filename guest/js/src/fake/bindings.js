// What a call may ask, answered from memory in the shapes of the contract: the bindings of a fake host.

import { Buffer } from 'node:buffer';
import { brokenRule, fits } from './rules.js';

const MAX_HOLD_MS = 60_000;
const WRITE_MS = 2_000;
const LEASES_MAX = 8;
const RETURNABLE_MAX = 16;

// What a call has read of a name under its lease, if that is no fencing token: nothing, so that it writes whatever
// there is; or that nobody has the name.
const UNREAD = 'unread';
const FREE = 'free';

/** What the bindings of componentize-js throw for an error that the host answers. */
class Answer extends Error {
  constructor(payload) {
    super('the host answered an error (see payload)');
    this.payload = payload;
  }
}

function answer(tag, val) {
  return new Answer(val === undefined ? { tag } : { tag, val });
}

export class Bindings {
  constructor(state) {
    this.state = state;
    this.begin();
  }

  /** Begins another call: it holds no lease, and may return no registration yet. */
  begin() {
    this.leases = new Set();
    this.returnable = [];
    this.failed = undefined;
  }

  /** Releases what the call still holds. */
  end() {
    for (const lease of this.leases) this.state.locks.delete(lease.of);
    this.begin();
  }

  acquire(name, waitMs) {
    return this.grant([name], waitMs)[0];
  }

  acquireAll(names, waitMs) {
    if (names.length === 0) throw answer('invalid-name', 'there is no name');
    for (const [index, name] of names.entries()) {
      const shown = JSON.stringify(name);
      if (names.indexOf(name) !== index) throw answer('invalid-name', `the name ${shown} is given twice`);
      if (this.holds(name)) throw answer('invalid-name', `this call holds the name ${shown} already`);
    }
    return this.grant(names, waitMs);
  }

  grant(names, waitMs) {
    const { state } = this;
    for (const name of names) {
      if (!fits(name)) throw answer('invalid-name', 'a name is 1 to 255 bytes of UTF-8');
    }
    if (this.leases.size + names.length > LEASES_MAX) {
      this.failed = 'tenant_limit';
      throw answer('limit', `a call may hold ${LEASES_MAX} leases (limits.leases)`);
    }
    if (state.down.locks) {
      this.failed = 'lock_unavailable';
      throw answer('unavailable', 'the lock service does not answer (the test says so)');
    }
    const busyMs = Math.max(...names.map((name) => (this.holds(name) ? state.leaseMs : state.heldForMs(name))));
    if (busyMs > waitMs || names.some((name) => this.holds(name))) {
      state.advance(waitMs);
      throw answer('busy', BigInt(Math.max(1, busyMs - waitMs)));
    }
    state.advance(busyMs);
    return names.map((name) => this.lease(name));
  }

  lease(name) {
    const { state } = this;
    const token = state.nextToken();
    const lease = new FakeLease(this, name, token);
    state.locks.set(name, { untilMs: state.nowMs + state.leaseMs, token });
    this.leases.add(lease);
    return lease;
  }

  release(lease) {
    const held = this.isHeld(lease);
    this.leases.delete(lease);
    if (!held) throw new Answer('gone');
    this.state.locks.delete(lease.of);
  }

  holds(name) {
    return [...this.leases].some((lease) => lease.of === name);
  }

  isHeld(lease) {
    const lock = this.state.locks.get(lease.of);
    return this.leases.has(lease) && lock?.token === lease.token && lock.untilMs > this.state.nowMs;
  }

  remainingMs(lease) {
    return this.isHeld(lease) ? this.state.locks.get(lease.of).untilMs - this.state.nowMs : 0;
  }

  renew(lease) {
    if (!this.isHeld(lease)) throw new Answer('gone');
    const untilMs = Math.min(this.state.nowMs + this.state.leaseMs, lease.acquiredMs + MAX_HOLD_MS);
    this.state.locks.set(lease.of, { untilMs, token: lease.token });
  }

  find(name) {
    if (!fits(name)) throw answer('invalid', 'a name is 1 to 255 bytes of UTF-8');
    this.needDatabase();
    const found = this.state.active(name);
    this.saw(name, found);
    return this.give(found);
  }

  list({ prefix, owner, after, limit }) {
    this.needDatabase();
    const all = this.state
      .allActive()
      .filter((it) => it.name.startsWith(prefix) && (owner === undefined || it.owner === owner))
      .filter((it) => after === undefined || Buffer.compare(Buffer.from(it.name), Buffer.from(after)) > 0);
    const registrations = all.slice(0, limit);
    return { registrations, next: all.length > limit ? registrations.at(-1).name : undefined };
  }

  save(lease, owner, lifetimeMs, attributes) {
    return this.apply([{ lease, action: { tag: 'save', val: { owner, lifetimeMs, attributes } } }])[0];
  }

  update(lease, change) {
    return this.write([{ lease, action: { tag: 'update', val: change } }], (name) => this.saw(name, undefined))[0];
  }

  free(lease) {
    let found = true;
    this.write([{ lease, action: { tag: 'free' } }], (name) => {
      found = false;
      this.saw(name, undefined);
    });
    return found;
  }

  apply(writes) {
    if (writes.length === 0) throw answer('invalid', 'there is no write');
    if (writes.length > LEASES_MAX) throw answer('invalid', `there are at most ${LEASES_MAX} writes`);
    if (new Set(writes.map(({ lease }) => lease.of)).size < writes.length) {
      throw answer('invalid', 'two writes are for one name');
    }
    return this.write(writes, (name) => {
      throw answer('invalid', `the name ${JSON.stringify(name)} has no active registration`);
    });
  }

  /** All of the writes or none. `missing` says what happens to an update or a free of a name that nobody has. */
  write(writes, missing) {
    for (const event of this.state.beforeWrite.splice(0)) event();
    for (const { lease, action } of writes) {
      if (this.remainingMs(lease) <= WRITE_MS) {
        throw this.leaseLost();
      }
      const wrong = brokenRule(action.val ?? {});
      if (wrong !== undefined) throw answer('invalid', wrong);
    }
    this.needDatabase('; the write was not done');
    const done = writes.map(({ lease, action }) => [lease.of, this.written(lease, action, missing)]);
    return done.map(([name, registration]) => {
      if (registration === undefined) return undefined;
      this.state.registrations.set(name, registration);
      const active = this.state.active(name);
      this.saw(name, active);
      return this.give(active);
    });
  }

  written(lease, action, missing) {
    const { nowMs } = this.state;
    const found = this.state.active(lease.of);
    if (action.tag === 'save') {
      if (found !== undefined) {
        this.saw(lease.of, found);
        throw answer('taken', found);
      }
      if (this.state.registrations.get(lease.of)?.fencingToken > lease.token) throw this.leaseLost();
      const { owner, lifetimeMs, attributes } = action.val;
      return this.state.registration(lease.of, lease.token, { owner, lifetimeMs, attributes });
    }
    if (found === undefined) return (missing(lease.of), undefined);
    if (lease.mustLeave(found)) throw this.leaseLost();
    if (action.tag === 'free') return { ...found, fencingToken: lease.token, expiresMs: BigInt(nowMs) };
    const { owner, lifetime, attributes } = action.val;
    const changed = { ...found, fencingToken: lease.token };
    if (owner !== undefined) changed.owner = owner;
    if (lifetime !== undefined) {
      changed.expiresMs = lifetime.tag === 'endless' ? undefined : BigInt(nowMs) + lifetime.val;
    }
    if (attributes !== undefined) changed.attributes = attributes;
    return changed;
  }

  leaseLost() {
    this.failed = 'lease_lost';
    return answer('lease-lost');
  }

  /** A write of another call, whose lease on the name ended before this call got its own. */
  writeLate(name, owner) {
    const shown = JSON.stringify(name);
    const own = [...this.leases].find((lease) => lease.of === name);
    if (own === undefined) throw new Error(`no write of ${shown} can be late: this call does not hold the lock on it`);
    const token = own.token - 1n;
    const last = this.state.registrations.get(name);
    const wrong = last?.fencingToken > token ? 'a newer lease wrote it' : brokenRule({ owner });
    if (wrong !== undefined) throw new Error(`this late write of ${shown} would be refused: ${wrong}`);
    const found = this.state.active(name);
    const written = found
      ? { ...found, owner, fencingToken: token }
      : this.state.registration(name, token, { owner, lifetimeMs: undefined, attributes: [] });
    this.state.registrations.set(name, written);
    return written;
  }

  /** Notes what the call was told of a name. Before it holds the lock on it, that says nothing: others may write. */
  saw(name, found) {
    for (const lease of this.leases) if (lease.of === name) lease.seen = found?.fencingToken ?? FREE;
  }

  /** Remembers that the call was given this registration. */
  give(registration) {
    if (registration === undefined) return undefined;
    this.returnable = [...this.returnable, registration].slice(-RETURNABLE_MAX);
    return structuredClone(registration);
  }

  setting(key) {
    const value = this.state.settings[key];
    return value === undefined ? undefined : String(value);
  }

  needDatabase(more = '') {
    if (!this.state.down.names) return;
    this.failed = 'names_unavailable';
    throw answer('unavailable', `the names database does not answer (the test says so)${more}`);
  }
}

class FakeLease {
  #bindings;

  constructor(bindings, name, token) {
    this.#bindings = bindings;
    this.of = name;
    this.token = token;
    this.acquiredMs = bindings.state.nowMs;
    this.seen = UNREAD;
  }

  /** Whether a newer lease has written what is registered, or another one since the call has read it. */
  mustLeave({ fencingToken }) {
    const isAsSeen = this.seen === UNREAD || this.seen === fencingToken;
    return fencingToken > this.token || (fencingToken !== this.token && !isAsSeen);
  }

  name() {
    return this.of;
  }

  fencingToken() {
    return this.token;
  }

  remainingMs() {
    return BigInt(this.#bindings.remainingMs(this));
  }

  renew() {
    this.#bindings.renew(this);
  }
}
