// The host's rules for what is saved.

const NAME_BYTES_MAX = 255;
const LIFETIME_MS_MAX = 100n * 365n * 24n * 60n * 60n * 1000n;
const ATTRIBUTES_MAX = 32;
const ATTRIBUTE_BYTES_MAX = 4096;

/** How many bytes of UTF-8 this text has. */
const bytes = (text) => new TextEncoder().encode(text).length;

/** Whether this can be a name or an owner. */
export function fits(text) {
  return text.length > 0 && bytes(text) <= NAME_BYTES_MAX;
}

/** Says which rule the parts of a registration break; undefined: none. */
export function brokenRule({ owner, lifetimeMs, lifetime, attributes }) {
  if (owner !== undefined && !fits(owner)) return 'an owner is 1 to 255 bytes of UTF-8';
  const ms = lifetimeMs ?? lifetime?.val;
  if (ms !== undefined && (ms < 1n || ms > LIFETIME_MS_MAX)) return 'a lifetime is 1 ms to 100 years';
  if (attributes === undefined) return undefined;
  if (attributes.length > ATTRIBUTES_MAX) {
    return `a registration has at most ${ATTRIBUTES_MAX} attributes (limits.attributes)`;
  }
  const total = attributes.flat().reduce((sum, text) => sum + bytes(text), 0);
  return total > ATTRIBUTE_BYTES_MAX
    ? `the attributes have at most ${ATTRIBUTE_BYTES_MAX} bytes together (limits.attribute_bytes)`
    : undefined;
}
