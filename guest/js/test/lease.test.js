import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import {
  Busy,
  Invalid,
  Missing,
  Taken,
  Unavailable,
  Write,
  apply,
  find,
  listNames,
  nameLock,
  nameLocks,
} from 'namelock';
import { withNameLock, withNameLocks } from 'namelock';
import { fakeHost } from 'namelock/fake';

let host;
beforeEach(() => {
  host = fakeHost();
});

test('a lock that is granted is held until it is released', () => {
  const lock = nameLock('ada');
  assert.deepEqual([lock.held, lock.name, lock.retryAfterMs, lock.remainingMs], [true, 'ada', undefined, 10_000]);
  assert.equal(typeof lock.fencingToken, 'bigint');
  assert.equal(host.isLocked('ada'), true);
  assert.equal(lock.release(), true);
  assert.deepEqual([lock.held, lock.remainingMs, host.isLocked('ada')], [false, 0, false]);
  assert.equal(lock.release(), false);
  assert.throws(() => lock.save({ owner: 'u1' }), /the lease on "ada" has been released/);
});

test('a busy lock says when to try again, and whoever uses it all the same throws Busy', () => {
  host.hold('ada', 700);
  const lock = nameLock('ada', 200);
  assert.deepEqual([lock.held, lock.retryAfterMs, lock.release()], [false, 500, false]);
  for (const use of [
    () => lock.save({ owner: 'u1' }),
    () => lock.update({}),
    () => lock.free(),
    () => lock.renew(),
    () => lock.fencingToken,
    () => apply([Write.free(lock)]),
  ]) {
    assert.throws(use, (error) => error instanceof Busy && error.retryAfterMs === 500);
  }
  assert.equal(host.isLocked('ada'), true);
});

test('a wait that is long enough gets the lock', () => {
  host.hold('ada', 700);
  assert.equal(nameLock('ada', 700).held, true);
});

test('a name that the call holds already is busy', () => {
  nameLock('ada');
  assert.equal(nameLock('ada', 60_000).held, false);
});

test('a wait must be a number that can be waited for', () => {
  for (const wait of [-1, NaN, '5', 5n]) assert.throws(() => nameLock('ada', wait), RangeError);
  assert.equal(nameLock('ada', Infinity).held, true);
});

test('a block under the lock releases it however the block ends', async () => {
  assert.equal(
    withNameLock('ada', (lock) => lock.name),
    'ada',
  );
  assert.equal(host.isLocked('ada'), false);
  assert.throws(
    () =>
      withNameLock('ada', () => {
        throw new TypeError('broken');
      }),
    TypeError,
  );
  assert.equal(host.isLocked('ada'), false);

  const later = withNameLock('ada', async () => {
    await null;
    return host.isLocked('ada');
  });
  assert.equal(await later, true);
  assert.equal(host.isLocked('ada'), false);
});

test('a block is not run while another call holds the lock', () => {
  host.hold('ada', 300);
  assert.throws(() => withNameLock('ada', () => assert.fail('it was run')), Busy);
  assert.throws(() => withNameLocks(['bob', 'ada'], () => assert.fail('it was run')), Busy);
  assert.equal(host.isLocked('bob'), false);
});

test('a lock is released by the method that `using` calls', () => {
  const lock = nameLock('ada');
  const locks = nameLocks(['bob', 'eve']);
  lock[Symbol.dispose]();
  locks[Symbol.dispose]();
  assert.deepEqual([lock.held, locks.held, host.isLocked('ada'), host.isLocked('eve')], [false, false, false, false]);
});

test('several names are locked together, in the order of the names', () => {
  const locks = nameLocks(['bob', 'ada']);
  assert.equal(locks.held, true);
  assert.deepEqual(
    locks.map((lock) => lock.name),
    ['bob', 'ada'],
  );
  assert.throws(() => nameLocks([]), Invalid);
  assert.throws(() => nameLocks(['eve', 'eve']), Invalid);
  assert.throws(() => nameLocks(['eve', 'ada']), Invalid);
});

test('a call that holds too many leases is told so', () => {
  nameLocks(['1', '2', '3', '4', '5', '6', '7', '8']);
  assert.throws(
    () => nameLock('9'),
    (error) => error instanceof Unavailable && /limits\.leases/.test(error.message),
  );
});

test('what is saved is found, until it ends', () => {
  const lock = nameLock('ada');
  const saved = lock.save({ owner: 'u1', lifetimeMs: 999.5, attributes: { floor: '2' } });
  assert.deepEqual(saved, {
    name: 'ada',
    owner: 'u1',
    createdMs: host.nowMs,
    expiresMs: host.nowMs + 1000,
    fencingToken: lock.fencingToken,
    attributes: [['floor', '2']],
  });
  assert.deepEqual(find('ada'), saved);
  assert.throws(
    () => lock.save({ owner: 'u2' }),
    (error) => error instanceof Taken && error.registration.owner === 'u1',
  );
  host.advance(1000);
  assert.equal(find('ada'), undefined);
});

test('attributes may be pairs, a Map or an object, of strings', () => {
  const lock = nameLock('ada');
  for (const attributes of [
    [
      ['b', '1'],
      ['a', '2'],
    ],
    new Map([
      ['b', '1'],
      ['a', '2'],
    ]),
    { b: '1', a: '2' },
  ]) {
    assert.deepEqual(lock.save({ owner: 'u1', attributes }).attributes, [
      ['b', '1'],
      ['a', '2'],
    ]);
    lock.free();
  }
  assert.throws(() => lock.save({ owner: 'u1', attributes: { floor: 2 } }), /attribute floor must be a string/);
  assert.throws(() => lock.save({ owner: undefined }), /owner must be a string/);
});

test('a change changes what it names', () => {
  const lock = nameLock('ada');
  assert.equal(lock.update({ owner: 'u2' }), undefined);
  const saved = lock.save({ owner: 'u1', lifetimeMs: 1000 });
  assert.deepEqual(lock.update({ owner: 'u2' }), { ...saved, owner: 'u2' });
  assert.equal(lock.update({ lifetimeMs: null }).expiresMs, undefined);
  assert.equal(lock.update({ lifetimeMs: 5000 }).expiresMs, host.nowMs + 5000);
  assert.deepEqual(lock.update({ attributes: { a: 'b' } }).attributes, [['a', 'b']]);
  assert.deepEqual([lock.free(), lock.free()], [true, false]);
});

test('several writes are done together or not at all', () => {
  host.give('ada', { owner: 'u1' });
  host.give('eve', { owner: 'u3' });
  const [ada, bob, eve] = nameLocks(['ada', 'bob', 'eve']);
  const saves = (lock) => [Write.free(ada), Write.save(lock, { owner: 'u1' })];
  assert.throws(() => apply(saves(eve)), Taken);
  assert.equal(find('ada').owner, 'u1');
  const [freed, saved] = apply(saves(bob));
  assert.deepEqual([freed, saved.name, find('ada'), find('bob')], [undefined, 'bob', undefined, saved]);
  assert.throws(() => apply([Write.update(ada, { owner: 'u2' })]), Invalid);
  assert.throws(() => apply([Write.free(bob), Write.free(bob)]), Invalid);
  assert.throws(() => apply([]), Invalid);
});

const leaseLost = (error) => error instanceof Unavailable && error.message === 'the lease on the name was lost';

// The rule of the host: host/names/src/seen.rs.
test('what another lease has written since it was read is not overwritten', () => {
  for (const name of ['a', 'b']) host.give(name, { owner: 'ann' });
  const [a, b] = nameLocks(['a', 'b']);
  assert.equal(find('a').owner, 'ann');
  host.beforeNextWrite(() => host.writeLate('a', 'bob'));
  for (const write of [
    () => a.update({ owner: 'eve' }),
    () => a.free(),
    () => apply([Write.free(b), Write.free(a)]),
    () => apply([Write.free(b), Write.update(a, { owner: 'eve' })]),
  ]) {
    assert.throws(write, leaseLost);
  }
  assert.deepEqual(
    host.registrations().map((it) => it.owner),
    ['bob', 'ann'],
  );
  // Whoever reads it again may write it, and what it has written itself.
  assert.equal(find('a').owner, 'bob');
  assert.equal(a.update({ owner: 'eve' }).owner, 'eve');
  assert.deepEqual(apply([Write.free(a), Write.free(b)]), [undefined, undefined]);
});

test('that a name was free is outdated too when it is registered late', () => {
  const lock = nameLock('a');
  assert.equal(find('a'), undefined);
  host.writeLate('a', 'bob');
  assert.throws(() => lock.free(), leaseLost);
  // A list does not count as reading it. What says who has it does.
  assert.equal(listNames().registrations.length, 1);
  assert.throws(() => lock.update({ owner: 'ann' }), leaseLost);
  assert.throws(() => lock.save({ owner: 'ann' }), Taken);
  assert.equal(lock.free(), true);
});

test('what was read before the lease does not count', () => {
  host.give('a', { owner: 'ann' });
  assert.equal(find('a').owner, 'ann');
  const lock = nameLock('a');
  host.writeLate('a', 'bob');
  assert.equal(lock.free(), true);
});

test('what a newer lease has written is left as it is', () => {
  const lock = nameLock('a');
  host.give('a', { owner: 'bob', lifetimeMs: 1000 });
  assert.throws(() => lock.free(), leaseLost);
  assert.throws(() => lock.update({}), leaseLost);
  host.advance(1000);
  assert.throws(() => lock.save({ owner: 'ann' }), leaseLost);
});

test('a write is late only for a lease that has not written', () => {
  assert.throws(() => host.writeLate('a', 'bob'), /does not hold the lock/);
  nameLock('a').save({ owner: 'ann' });
  assert.throws(() => host.writeLate('a', 'bob'), /would be refused: a newer lease wrote it/);
});

test('names are listed page by page, in the order of their bytes', () => {
  for (const [name, owner] of [
    ['b', 'u1'],
    ['a', 'u1'],
    ['\u{ffff}', 'u2'],
    ['\u{10000}', 'u1'],
  ])
    host.give(name, { owner });
  const names = (query) => listNames(query).registrations.map((it) => it.name);
  assert.deepEqual(names(), ['a', 'b', '\u{ffff}', '\u{10000}']);
  assert.deepEqual(names({ owner: 'u1', limit: 2 }), ['a', 'b']);
  assert.deepEqual(names({ owner: 'u1', after: listNames({ limit: 2 }).next }), ['\u{10000}']);
  assert.deepEqual(names({ prefix: 'b' }), ['b']);
  assert.equal(listNames().next, undefined);
  assert.throws(() => listNames({ limit: 0 }), RangeError);
});

test('each failure of the host is thrown as the rejection that fits it', () => {
  const fails = (call, message) =>
    assert.throws(
      call,
      (error) => error instanceof Unavailable && error.message === message && error.reason !== undefined,
    );
  const lock = nameLock('ada');
  host.down.names = true;
  fails(() => find('ada'), 'the names database does not answer');
  fails(() => listNames(), 'the names database does not answer');
  fails(() => lock.free(), 'the names database does not answer; the write may or may not have been done');
  host.down.locks = true;
  fails(() => nameLock('bob'), 'the lock service cannot grant');
  host.advance(8_000);
  fails(() => lock.free(), 'the lease on the name was lost');
  host.advance(2_000);
  fails(() => lock.renew(), 'the lease on the name was lost');
  assert.equal(lock.release(), false);
  assert.throws(() => nameLock(''), Invalid);
  assert.throws(() => find('x'.repeat(256)), Invalid);
  assert.throws(() => nameLock(undefined), /name must be a string, and is undefined/);
});

test('a lease that is renewed lasts its full time again, for a minute in all', () => {
  const lock = nameLock('ada');
  for (let at = 0; at < 54_000; at += 9_000) {
    host.advance(9_000);
    lock.renew();
  }
  assert.equal(lock.remainingMs, 6_000);
});

test('rejections have names for the log', () => {
  assert.equal(String(new Missing()), 'Missing: the name has no active registration');
  assert.equal(String(new Invalid('too short')), 'Invalid: too short');
});
