// Names of rooms: the first to ask for a name has it until its lifetime ends. It behaves as guest/handlers/rooms does.
//
// The owner of a room may prolong it, hand it over and change its attributes; nobody else may.
//
// Its settings, in the table [settings] of the tenant's tenant.toml:
//
// - wait_ms: how long to wait for the lock while another call holds it, in milliseconds; left out, it tries once
// - default_lifetime_ms: how long a room lasts if the caller does not say, in milliseconds; left out, a day

import { Forbidden, Missing, Taken, find, setting, wholeNumber, withNameLock } from 'namelock';
import { roomName } from './room-name.js';

const A_DAY_MS = 24 * 60 * 60 * 1000;

export function register({ name: text, owner, lifetimeMs, attributes }) {
  const name = roomName(text);
  lifetimeMs ??= setting('default_lifetime_ms', wholeNumber) ?? A_DAY_MS;
  // The lock is released when this block ends, however it ends. Looking first only spares the database a write: that
  // the name has one owner does not depend on it, because `save` throws Taken too.
  return withNameLock(
    name,
    (lock) => {
      if (find(name)) throw new Taken();
      return lock.save({ owner, lifetimeMs, attributes });
    },
    waitMs(),
  );
}

export function free(text, owner) {
  const name = roomName(text);
  withNameLock(
    name,
    (lock) => {
      // Under the lock, the owner found here is still the owner when the room is freed.
      const room = find(name);
      if (!room) return;
      if (room.owner !== owner) throw notYours();
      lock.free();
    },
    waitMs(),
  );
}

export function update({ name: text, owner, change }) {
  const name = roomName(text);
  return withNameLock(
    name,
    (lock) => {
      const room = find(name);
      if (!room) throw new Missing();
      if (room.owner !== owner) throw notYours();
      const changed = lock.update(change);
      // It may end between the two.
      if (!changed) throw new Missing();
      return changed;
    },
    waitMs(),
  );
}

function waitMs() {
  return setting('wait_ms', wholeNumber) ?? 0;
}

function notYours() {
  return new Forbidden('the room belongs to somebody else');
}

// The module is loaded when the component is built. What has run then is in the component as it was left, compiled functions
// and regular expressions too, and no call has to compile them again.
roomName('Blue Room');
