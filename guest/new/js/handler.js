// Campaign codes: the first to ask for a code has it until it ends, or until its owner frees it.

import { Forbidden, Invalid, Taken, find, setting, wholeNumber, withNameLock } from 'namelock';

const A_DAY_MS = 24 * 60 * 60 * 1000;

export function register({ name, owner, lifetimeMs, attributes }) {
  const code = canonical(name);
  lifetimeMs ??= defaultLifetimeMs();
  // While this runs, nobody else works on the code, on any machine.
  const save = (lock) => {
    if (find(code)) throw new Taken();
    return lock.save({ owner, lifetimeMs, attributes });
  };
  return withNameLock(code, save, waitMs());
}

export function free(name, owner) {
  const code = canonical(name);
  const freeCode = (lock) => {
    const found = find(code);
    if (!found) return;
    if (found.owner !== owner) throw new Forbidden('the code belongs to somebody else');
    lock.free();
  };
  withNameLock(code, freeCode, waitMs());
}

/** Returns the one form of a code that is locked and saved, however it was written. */
function canonical(text) {
  const code = text.replace(/^ +| +$/g, '');
  if (!/^[A-Za-z0-9]{4,12}$/.test(code)) throw new Invalid('a code has 4 to 12 letters and digits');
  return code.toUpperCase();
}

function waitMs() {
  return setting('wait_ms', wholeNumber) ?? 0;
}

function defaultLifetimeMs() {
  return setting('default_lifetime_ms', wholeNumber) ?? A_DAY_MS;
}
