// What a handler needs. The documentation of each item is in index.d.ts.

export { handler } from './src/handler.js';
export { Lease, Leases, nameLock, nameLocks, withNameLock, withNameLocks } from './src/lease.js';
export { Write, apply, find, listNames } from './src/names.js';
export { Busy, Forbidden, Invalid, Missing, Rejection, Taken, Unavailable } from './src/rejections.js';
export { setting, wholeNumber } from './src/settings.js';
