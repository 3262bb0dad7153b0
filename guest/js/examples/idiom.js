// The shortest whole handler: lock the name; if the lock is held and the name is valid, save it.

import { Busy, Forbidden, Invalid, find, nameLock, withNameLock } from 'namelock';

const nameIsValid = (name) => /^[a-z0-9-]{3,30}$/.test(name);

export function register({ name, owner, lifetimeMs, attributes }) {
  using lock = nameLock(name);
  if (lock.held && nameIsValid(name)) return lock.save({ owner, lifetimeMs, attributes });
  throw lock.held ? new Invalid('a name is 3 to 30 of a-z, 0-9 and "-"') : new Busy(lock.retryAfterMs);
}

export function free(name, owner) {
  withNameLock(name, (lock) => {
    const found = find(name);
    if (found && found.owner !== owner) throw new Forbidden('the name belongs to somebody else');
    lock.free();
  });
}
