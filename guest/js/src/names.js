// The tenant's registrations: find, list, and several writes at once.

import { names } from '#host';
import { ask, fromNames, fromSave } from './rejections.js';
import { fromRegistration, text, toAttributes, toChange, toLifetime } from './wire.js';

export function find(name) {
  const found = ask(() => names.find(text(name, 'name')), fromNames);
  return found && fromRegistration(found);
}

export function listNames({ prefix = '', owner, after, limit = 100 } = {}) {
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000) {
    throw new RangeError(`limit must be a whole number from 1 to 1000, and is ${String(limit)}`);
  }
  const query = { prefix, owner, after, limit };
  const page = ask(() => names.list(query), fromNames);
  return { registrations: page.registrations.map(fromRegistration), next: page.next };
}

export const Write = {
  save: (lease, { owner, lifetimeMs, attributes }) => ({
    lease,
    action: {
      tag: 'save',
      val: {
        owner: text(owner, 'owner'),
        lifetimeMs: toLifetime(lifetimeMs),
        attributes: toAttributes(attributes),
      },
    },
  }),
  update: (lease, change) => ({ lease, action: { tag: 'update', val: toChange(change) } }),
  free: (lease) => ({ lease, action: { tag: 'free' } }),
};

export function apply(writes) {
  const wire = Array.from(writes, ({ lease, action }) => ({ lease: lease.handle(), action }));
  const results = ask(() => names.apply(wire), fromSave(fromRegistration));
  return results.map((registration) => registration && fromRegistration(registration));
}
