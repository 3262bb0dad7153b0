// The bindings of the world outside a component: those of the fake that a test has made.

let active;

/** Makes this fake the one that is asked. */
export function activate(host) {
  active = host;
}

function host() {
  if (active === undefined) {
    throw new Error('there is no host here: make one with `fakeHost()` of "namelock/fake", or run the built component');
  }
  return active;
}

export const locks = {
  acquire: (name, waitMs) => host().acquire(name, waitMs),
  acquireAll: (names, waitMs) => host().acquireAll(names, waitMs),
  release: (lease) => host().release(lease),
};

export const names = {
  find: (name) => host().find(name),
  list: (query) => host().list(query),
  save: (lease, owner, lifetimeMs, attributes) => host().save(lease, owner, lifetimeMs, attributes),
  free: (lease) => host().free(lease),
  update: (lease, change) => host().update(lease, change),
  apply: (writes) => host().apply(writes),
};

export const settings = { get: (key) => host().setting(key) };
