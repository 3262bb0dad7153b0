// Values as the contract carries them: 64-bit numbers are BigInt there, and milliseconds are Number here.

const U64_MAX = 2n ** 64n - 1n;
const U32_MAX = 2 ** 32 - 1;

/** Milliseconds as u64, rounded up: rounded down, a short time would become 0, which means something else. */
export function toMillis(value, what) {
  if (typeof value !== 'number' || !(value >= 0)) {
    throw new RangeError(`${what} must be a number of milliseconds, 0 or more, and is ${String(value)}`);
  }
  if (value >= Number(U64_MAX)) return U64_MAX;
  return BigInt(Math.ceil(value));
}

/** Milliseconds of the contract as Number. Beyond 2^53 ms, far beyond every limit of the host, they are rounded. */
export function fromMillis(value) {
  return Number(value);
}

/** A wait in milliseconds as u32. The bindings take it modulo 2^32. */
export function toWait(value) {
  return Math.min(Number(toMillis(value, 'waitMs')), U32_MAX);
}

/** Attributes as pairs, of anything with pairs (an array, a Map) or of a plain object. */
export function toAttributes(attributes) {
  if (attributes === undefined || attributes === null) return [];
  const pairs = typeof attributes[Symbol.iterator] === 'function' ? attributes : Object.entries(attributes);
  return Array.from(pairs, ([key, value]) => [text(key, 'the key of an attribute'), text(value, `attribute ${key}`)]);
}

/** Refuses what is not a string, before the bindings do with fewer words. */
export function text(value, what) {
  if (typeof value !== 'string') throw new TypeError(`${what} must be a string, and is ${typeof value}`);
  return value;
}

/** A lifetime of a registration that is saved; undefined or null: it does not end by itself. */
export function toLifetime(value) {
  return value === undefined || value === null ? undefined : toMillis(value, 'lifetimeMs');
}

export function fromRegistration({ name, owner, createdMs, expiresMs, fencingToken, attributes }) {
  return {
    name,
    owner,
    createdMs: fromMillis(createdMs),
    expiresMs: expiresMs === undefined ? undefined : fromMillis(expiresMs),
    fencingToken,
    attributes,
  };
}

export function toRegistration({ name, owner, createdMs, expiresMs, fencingToken, attributes }) {
  return {
    name: text(name, 'name'),
    owner: text(owner, 'owner'),
    createdMs: toMillis(createdMs, 'createdMs'),
    expiresMs: expiresMs === undefined || expiresMs === null ? undefined : toMillis(expiresMs, 'expiresMs'),
    fencingToken: BigInt(fencingToken),
    attributes: toAttributes(attributes),
  };
}

/** What is undefined stays as it is; a lifetime of null: it does not end by itself. */
export function toChange({ owner, lifetimeMs, attributes }) {
  return {
    owner: owner === undefined ? undefined : text(owner, 'owner'),
    lifetime:
      lifetimeMs === undefined
        ? undefined
        : lifetimeMs === null
          ? { tag: 'endless' }
          : { tag: 'from-now-ms', val: toMillis(lifetimeMs, 'lifetimeMs') },
    attributes: attributes === undefined ? undefined : toAttributes(attributes),
  };
}

export function fromChange({ owner, lifetime, attributes }) {
  const change = {};
  if (owner !== undefined) change.owner = owner;
  if (lifetime !== undefined) change.lifetimeMs = lifetime.tag === 'endless' ? null : fromMillis(lifetime.val);
  if (attributes !== undefined) change.attributes = attributes;
  return change;
}
