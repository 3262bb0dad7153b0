/**
 * What a handler of namelock needs.
 *
 * A handler is a module that exports the functions `register` and `free`, and `update` if its registrations can be
 * changed (see `Handler`). `namelock-js-build` makes a component of it. Times are in milliseconds; an error of the host
 * is thrown as the `Rejection` that fits it.
 */

/** A name that has an owner, for a time. Return it as it was given: a call may return no other. */
export interface Registration {
  /** The name, exactly as it was locked and saved. */
  name: string;
  /** Who has the name, 1 to 255 bytes of UTF-8. */
  owner: string;
  /** When it was saved, in milliseconds since 1970-01-01 UTC by the database's clock. */
  createdMs: number;
  /** When it ends, on the same clock; undefined: it does not end by itself. */
  expiresMs: number | undefined;
  /** The fencing token of the lease under which it was saved or last changed. */
  fencingToken: bigint;
  /** What else was saved with it, as [key, value], in the order in which it was given. */
  attributes: [string, string][];
}

/** Attributes that are written: pairs of strings, such as an array or a Map, or a plain object. */
export type Attributes = Iterable<readonly [string, string]> | Readonly<Record<string, string>>;

/** What is saved. */
export interface New {
  /** Who is to have the name, 1 to 255 bytes of UTF-8. */
  owner: string;
  /**
   * How long it lasts, 1 ms to 100 years, rounded up to whole milliseconds; left out or null: it does not end by
   * itself.
   */
  lifetimeMs?: number | null | undefined;
  /** What else is saved with it: at most `limits.attributes` (32), with `limits.attribute_bytes` (4 KiB) together. */
  attributes?: Attributes | undefined;
}

/** What is to become of a registration; what is left out stays as it is. */
export interface Change {
  /** Who is to have the name. */
  owner?: string | undefined;
  /** How long it lasts, counted from the change; null: it does not end by itself. */
  lifetimeMs?: number | null | undefined;
  /** All of its attributes, in the place of those that it has. */
  attributes?: Attributes | undefined;
}

/** What a caller asked for, unchanged: the name is neither trimmed nor case-folded, and only its length is checked. */
export interface RegisterRequest {
  /** The name, 1 to 255 bytes of UTF-8. */
  name: string;
  /** Who is to have it, 1 to 255 bytes. The host does not check who asks: the platform in front of it does. */
  owner: string;
  /** How long the caller wishes to have the name; undefined: the handler decides. */
  lifetimeMs: number | undefined;
  /** What else the caller sent, as [key, value]. */
  attributes: [string, string][];
}

/** What a caller wishes to change, unchanged. */
export interface UpdateRequest {
  /** The name, 1 to 255 bytes of UTF-8. */
  name: string;
  /** Who asks, 1 to 255 bytes. */
  owner: string;
  /** What is to become of the registration. */
  change: Change & { attributes?: [string, string][] };
}

/** The functions of a handler. They may be async. An error that is no `Rejection` ends the call in a trap. */
export interface Handler {
  /**
   * Registers a name. The result is one of the last 16 registrations that `find`, `save`, `update` and `apply` gave
   * to this call; any other is a trap. An idempotency key goes with the first registration that is saved or changed:
   * save first what is returned.
   */
  register(request: RegisterRequest): Registration | Promise<Registration>;
  /** Frees the name that `owner` has. To free a name that has no active registration is not an error. */
  free(name: string, owner: string): void | Promise<void>;
  /** Changes the registration of a name. Without it, the host answers every change with HTTP 405 `unsupported`. */
  update?: ((request: UpdateRequest) => Registration | Promise<Registration>) | undefined;
}

/**
 * Adapts a handler's functions to the exports that componentize-js expects. `namelock-js-build` calls it; only who
 * builds in another way needs it: `export const { handler, updates } = namelock.handler({ register, free, update })`.
 */
export function handler(functions: Handler): { handler: object; updates?: object };

/**
 * Takes the lock on `name`, which keeps every other call on any machine from working on the name. Whether it was
 * granted is in `held`: `using lock = nameLock(name); if (lock.held) …`. Without `using`, call `release` in a `finally`
 * block.
 *
 * `waitMs` is how long to try while another call holds the lock; 0 tries once. The host waits for at most
 * `lock.max_wait` (30 s), and the wait counts towards the call's `limits.wall_time` (5 s). A name that this call holds
 * already is busy.
 *
 * @throws {Unavailable} The lock service cannot grant, or the call holds `limits.leases` (8) leases.
 * @throws {Invalid} The name is not 1 to 255 bytes long.
 */
export function nameLock(name: string, waitMs?: number): Lease;

/**
 * Takes the locks on all of `names`, or none of them, in the order of the names. Calls that take all of their names at
 * once never wait for each other in a circle.
 *
 * @throws {Unavailable} As `nameLock`.
 * @throws {Invalid} There is no name, or one is given twice, or this call holds it already.
 */
export function nameLocks(names: Iterable<string>, waitMs?: number): Leases;

/**
 * Runs `block` under the lock on `name`, and releases it however the block ends; if the block returns a promise, when
 * that is settled. `waitMs` is as in `nameLock`.
 *
 * @throws {Busy} Another call holds the lock; the block was not run.
 */
export function withNameLock<T>(name: string, block: (lock: Lease) => T, waitMs?: number): T;

/** Runs `block` under the locks on all of `names`, as `withNameLock` does for one. */
export function withNameLocks<T>(names: Iterable<string>, block: (locks: Leases) => T, waitMs?: number): T;

/** The right to one name until a deadline; or, with `held` false, a lock that was not granted, or that was released. */
export class Lease {
  private constructor();
  /** The name, exactly as it was locked. */
  readonly name: string;
  /** Whether the lock was granted and is not released. That it has not expired is for `remainingMs` to say. */
  readonly held: boolean;
  /** After how many milliseconds to try again at the earliest; undefined if the lock was granted. */
  readonly retryAfterMs: number | undefined;
  /** A number that grows with every grant of this name. */
  readonly fencingToken: bigint;
  /** For how many more milliseconds the lease is certain to last; 0 if it is lost or not held. */
  readonly remainingMs: number;
  /**
   * Extends the lease to its full time (`lock.lease`, 10 s), but never beyond `lock.max_hold` (1 minute) in all.
   *
   * @throws {Unavailable} The lease is lost.
   */
  renew(): void;
  /**
   * Saves a registration of this name. It is durable when this returns.
   *
   * @throws {Taken} The name has an active registration, as the database decides; or it is held for its last owner.
   * @throws {Unavailable} The lease is lost, or the database does not answer: then the write may have been done.
   * @throws {Invalid} The owner, the lifetime or the attributes break a rule.
   * @throws {Busy} The lock was not granted.
   */
  save(registration: New): Registration;
  /**
   * Changes the active registration of this name and returns it as it is then; undefined: there is none. Whether the
   * caller may do so is for the handler to check. It throws as `save` does; Taken only if the request has succeeded
   * before.
   */
  update(change: Change): Registration | undefined;
  /**
   * Ends the active registration of this name; returns whether there was one. It throws as `save` does, never Taken.
   */
  free(): boolean;
  /** Releases the lock; returns whether it was held until now. To release it twice is not an error. */
  release(): boolean;
  /** Releases the lock at the end of a block with `using`. */
  [Symbol.dispose](): void;
}

/** Leases on several names, in the order of the names: all of them held, or none. */
export class Leases extends Array<Lease> {
  private constructor();
  /** Whether all of them were granted and are not released. */
  readonly held: boolean;
  /** After how many milliseconds to try again at the earliest; undefined if they were granted. */
  readonly retryAfterMs: number | undefined;
  /** Releases all of them. */
  release(): void;
  [Symbol.dispose](): void;
}

/**
 * Finds the active registration of `name`. This needs no lock.
 *
 * @throws {Unavailable} The database does not answer.
 * @throws {Invalid} The name is not 1 to 255 bytes long.
 */
export function find(name: string): Registration | undefined;

/** Which registrations `listNames` returns. */
export interface Query {
  /** Those whose name begins with this, byte for byte; left out: all. */
  prefix?: string | undefined;
  /** Those of this owner. */
  owner?: string | undefined;
  /** Those behind this name, in the order of the names' bytes: `next` of the page before. */
  after?: string | undefined;
  /** How many at most, 1 to 1000; left out: 100. */
  limit?: number | undefined;
}

/** Some registrations. There may be fewer than the limit, even none, where others follow. */
export interface Page {
  /** In the order of the names' bytes. A call cannot return one of these; `find` it. */
  registrations: Registration[];
  /** Behind which name the next page begins; undefined: this is the last one. */
  next: string | undefined;
}

/** Lists active registrations, page by page. It throws as `find` does. */
export function listNames(query?: Query): Page;

/** One of several writes that are done together, by `apply`. */
export interface Write {
  readonly lease: Lease;
}

export const Write: {
  /** Saves a registration, as `Lease.save` does. */
  save(lease: Lease, registration: New): Write;
  /** Changes the active registration, as `Lease.update` does. */
  update(lease: Lease, change: Change): Write;
  /** Ends the active registration, as `Lease.free` does. */
  free(lease: Lease): Write;
};

/**
 * Does several writes in one transaction, all of them or none: at most `limits.leases` (8), never more than 16, and no
 * two for one name. The results come in the order of the writes: the registration that was saved or changed, undefined
 * for one that frees.
 *
 * @throws {Taken} A name to save has an active registration, which is in `registration`.
 * @throws {Invalid} Also if a name to change or to free has no active registration.
 */
export function apply(writes: Iterable<Write>): (Registration | undefined)[];

/**
 * Reads a setting of the tenant, from the table `[settings]` of its `tenant.toml`; undefined if it is not set.
 *
 * A value for which `parse` throws is written to the tenant's log with its key and the reason. Read a secret without
 * `parse`.
 *
 * @throws {Unavailable} It cannot be read or parsed. Callers hear the key alone.
 */
export function setting(key: string): string | undefined;
export function setting<T>(key: string, parse: (value: string) => T): T | undefined;

/** Parses a whole number, 0 or more, for `setting`. */
export function wholeNumber(value: string): number;

/**
 * Why a request is refused. Thrown by a handler's function it is the answer to the caller; its message is shown to
 * them.
 */
export abstract class Rejection extends Error {
  /** Which case of the contract it is. */
  readonly tag: 'invalid' | 'taken' | 'busy' | 'forbidden' | 'unavailable' | 'missing';
}

/** The name or the change is not valid here; the text says why. HTTP 422 `name_invalid`. */
export class Invalid extends Rejection {
  constructor(text: string, options?: ErrorOptions);
}

/** The name has an active registration, or is held for its last owner. HTTP 409 `name_taken`; of an `update`, 403. */
export class Taken extends Rejection {
  constructor(registration?: Registration);
  /** The registration that is in the way, if a write was refused because of it. */
  readonly registration: Registration | undefined;
}

/** Another call holds the lock on the name. HTTP 423 `name_busy`, with `Retry-After`. */
export class Busy extends Rejection {
  constructor(retryAfterMs: number);
  /** How long to wait before trying again. */
  readonly retryAfterMs: number;
}

/** The caller may not do this; the text says why. HTTP 403 `forbidden`. */
export class Forbidden extends Rejection {
  constructor(text: string, options?: ErrorOptions);
}

/**
 * It cannot be done now; the text says why. The code follows from what last failed in this call: HTTP 503
 * `lock_unavailable`, `names_unavailable` or `lease_lost`, or 429 `tenant_limit`; if nothing did, 503
 * `tenant_unavailable`.
 */
export class Unavailable extends Rejection {
  constructor(text: string, options?: ErrorOptions & { reason?: string });
  /** What failed, for the tenant's log; callers do not see it. */
  readonly reason: string | undefined;
}

/** The name has no active registration. HTTP 404 `not_found`. Only `update` may throw it. */
export class Missing extends Rejection {
  constructor();
}
