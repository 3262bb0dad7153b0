// A handler in TypeScript: it is type-checked, not run.

import {
  Busy,
  Missing,
  Taken,
  Write,
  apply,
  find,
  handler,
  listNames,
  nameLock,
  setting,
  wholeNumber,
  withNameLock,
} from 'namelock';
import { withNameLocks } from 'namelock';
import type { Handler, RegisterRequest, Registration } from 'namelock';
import { fakeHost } from 'namelock/fake';

const codes = {
  register({ name, owner, lifetimeMs, attributes }: RegisterRequest): Registration {
    using lock = nameLock(name, setting('wait_ms', wholeNumber) ?? 0);
    if (!lock.held) throw new Busy(lock.retryAfterMs ?? 1);
    return lock.save({ owner, lifetimeMs, attributes });
  },
  free(name) {
    withNameLock(name, (lock) => lock.free());
  },
  update({ name, change }) {
    const changed = withNameLock(name, (lock) => lock.update({ ...change, attributes: { of: 'us' } }), 100);
    if (changed === undefined) throw new Missing();
    return changed;
  },
} satisfies Handler;

export const { handler: exported, updates } = handler(codes);

export function rename(from: string, to: string, owner: string): Registration | undefined {
  return withNameLocks([from, to], ([old, other]) => {
    if (old === undefined || other === undefined || find(to) !== undefined) throw new Taken();
    return apply([Write.free(old), Write.save(other, { owner })])[1];
  });
}

export async function count(): Promise<number> {
  const outcome = await fakeHost({ settings: { wait_ms: 5 } }).register(codes, { name: 'ada', owner: 'u1' });
  return listNames({ limit: 10 }).registrations.length + outcome.status;
}

// @ts-expect-error An owner is needed.
export const wrong = () => nameLock('ada').save({ lifetimeMs: 5 });
// @ts-expect-error A fencing token does not fit into a number.
export const token: () => number = () => nameLock('ada').fencingToken;
