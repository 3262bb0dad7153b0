/**
 * A host in memory, for tests of handlers without WebAssembly: locks, registrations, settings and a clock that stands
 * still.
 *
 * It keeps the rules of the contract. It has no idempotency keys, no holds (`hold_ms`), and of the limits only those on
 * leases and attributes.
 */

import type { Change, Handler, New, Registration } from './index.js';

/** How a call ended, as its caller hears it. */
export interface Outcome {
  /** The HTTP status: 201, 200 or 204, or that of the refusal. */
  status: number;
  /** The code of the refusal, such as `name_taken`. */
  code?: string;
  /** What the handler returned. */
  registration?: Registration;
  /** The text of a refusal. */
  detail?: string;
  /** How long the caller has to wait, in milliseconds. */
  retryAfterMs?: number;
  /** What ended the call in a trap (status 500). */
  error?: Error;
}

export interface FakeOptions {
  /** The clock at the start, in milliseconds since 1970-01-01 UTC. */
  nowMs?: number;
  /** The table `[settings]` of the tenant. */
  settings?: Record<string, string | number | boolean>;
  /** How long a lease lasts (10000). With less than 2001 no write is done: each fails with a lost lease. */
  leaseMs?: number;
}

/** Makes a host and lets it answer what handlers ask from now on, in the place of the one before. */
export function fakeHost(options?: FakeOptions): FakeHost;

export class FakeHost {
  /** Runs one call of `register`; every lease that it leaves is released. */
  register(handler: Handler, request: { name: string } & New): Promise<Outcome>;
  /** Runs one call of `free`. */
  free(handler: Handler, request: { name: string; owner: string }): Promise<Outcome>;
  /** Runs one call of `update`. */
  update(handler: Handler, request: { name: string; owner: string; change: Change }): Promise<Outcome>;
  /** Registers a name without a handler. */
  give(name: string, registration: New): Registration;
  /** Lets something happen just before the next write, such as what another call does after a handler's `find`. */
  beforeNextWrite(event: () => void): void;
  /**
   * Lets a write come late: another call, whose lease ended before the running call got its own, gives the name to
   * `owner`. It hands the registration over that there is, or makes one without end. What a handler has decided on the
   * registration that it read before is then refused with a lost lease.
   */
  writeLate(name: string, owner: string): Registration;
  /** Lets another call hold the lock on `name` for `ms` (10000); returns a function that releases it. */
  hold(name: string, ms?: number): () => void;
  /** Whether somebody holds the lock on `name`. */
  isLocked(name: string): boolean;
  /** All active registrations, in the order of the names' bytes. */
  registrations(): Registration[];
  /** Lets time pass. */
  advance(ms: number): void;
  /** The time. A wait for a busy lock takes from it. */
  readonly nowMs: number;
  /** The settings; a test may change them. */
  readonly settings: Record<string, string | number | boolean>;
  /** What does not answer; a test may change it. */
  readonly down: { locks: boolean; names: boolean };
}
