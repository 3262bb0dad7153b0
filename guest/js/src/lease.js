// The lock on a name: acquire, renew, release; and the writes that need it.

import { locks, names } from '#host';
import { Busy, ask, fromAcquire, fromLost, fromSave, isAnswer } from './rejections.js';
import { fromRegistration, text, toAttributes, toChange, toLifetime, toWait } from './wire.js';

// esbuild lowers `using` for engines without it, and looks for the method under this symbol too.
const dispose = Symbol.dispose ?? Symbol.for('Symbol.dispose');

export class Lease {
  #name;
  #handle;
  #retryAfterMs;

  /** @internal Leases are made by nameLock and nameLocks. */
  constructor(name, handle, retryAfterMs) {
    this.#name = name;
    this.#handle = handle;
    this.#retryAfterMs = retryAfterMs;
  }

  get name() {
    return this.#name;
  }

  get held() {
    return this.#handle !== undefined;
  }

  get retryAfterMs() {
    return this.#retryAfterMs;
  }

  get fencingToken() {
    return this.handle().fencingToken();
  }

  get remainingMs() {
    return this.held ? Number(this.#handle.remainingMs()) : 0;
  }

  renew() {
    const handle = this.handle();
    ask(() => handle.renew(), fromLost);
  }

  save({ owner, lifetimeMs, attributes }) {
    const lifetime = toLifetime(lifetimeMs);
    const pairs = toAttributes(attributes);
    return write(() => fromRegistration(names.save(this.handle(), text(owner, 'owner'), lifetime, pairs)));
  }

  update(change) {
    const wire = toChange(change);
    return write(() => {
      const changed = names.update(this.handle(), wire);
      return changed && fromRegistration(changed);
    });
  }

  free() {
    return write(() => names.free(this.handle()));
  }

  release() {
    if (!this.held) return false;
    const handle = this.#handle;
    this.#handle = undefined;
    try {
      locks.release(handle);
      return true;
    } catch (error) {
      if (isAnswer(error)) return false;
      throw error;
    }
  }

  [dispose]() {
    this.release();
  }

  /**
   * @internal The host's handle; a lock that was not granted throws Busy, so that a check that was forgotten is safe.
   */
  handle() {
    if (this.#handle === undefined) {
      if (this.#retryAfterMs !== undefined) throw new Busy(this.#retryAfterMs);
      throw new Error(`the lease on ${JSON.stringify(this.#name)} has been released`);
    }
    return this.#handle;
  }
}

/** Leases on several names: all of them held, or none. */
export class Leases extends Array {
  // What `map` and `filter` make is a plain array.
  static get [Symbol.species]() {
    return Array;
  }

  get held() {
    return this.length > 0 && this.every((lease) => lease.held);
  }

  get retryAfterMs() {
    return this[0]?.retryAfterMs;
  }

  release() {
    for (const lease of this) lease.release();
  }

  [dispose]() {
    this.release();
  }
}

export function nameLock(name, waitMs = 0) {
  const [granted, retryAfterMs] = tryAcquire(() => locks.acquire(text(name, 'name'), toWait(waitMs)));
  return new Lease(name, granted, retryAfterMs);
}

export function nameLocks(of, waitMs = 0) {
  const wanted = Array.from(of, (name) => text(name, 'name'));
  const [granted, retryAfterMs] = tryAcquire(() => locks.acquireAll(wanted, toWait(waitMs)));
  const leases = new Leases();
  wanted.forEach((name, index) => leases.push(new Lease(name, granted?.[index], retryAfterMs)));
  return leases;
}

export function withNameLock(name, block, waitMs = 0) {
  return within(nameLock(name, waitMs), block);
}

export function withNameLocks(of, block, waitMs = 0) {
  return within(nameLocks(of, waitMs), block);
}

/** Runs `block` and releases; if it returns a promise, when that is settled. */
function within(lock, block) {
  if (!lock.held) throw new Busy(lock.retryAfterMs);
  let settlesLater = false;
  try {
    const result = block(lock);
    if (typeof result?.then !== 'function') return result;
    settlesLater = true;
    return Promise.resolve(result).finally(() => lock.release());
  } finally {
    if (!settlesLater) lock.release();
  }
}

/** What was granted, or after how many milliseconds to try again. Other errors are thrown. */
function tryAcquire(acquire) {
  try {
    return [ask(acquire, fromAcquire), undefined];
  } catch (error) {
    if (error instanceof Busy) return [undefined, error.retryAfterMs];
    throw error;
  }
}

function write(call) {
  return ask(call, fromSave(fromRegistration));
}
