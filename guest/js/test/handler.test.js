import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as namelock from 'namelock';
import { Busy, Forbidden, Invalid, Missing, Taken, Unavailable, find, nameLock, setting, wholeNumber } from 'namelock';
import { fakeHost } from 'namelock/fake';

const request = { name: 'ada', owner: 'u1' };
const nothing = { register() {}, free() {} };

/** How a call ends whose function does this. */
function registering(register) {
  return fakeHost().register({ ...nothing, register }, request);
}

function updating(update) {
  const host = fakeHost();
  host.give('ada', { owner: 'u1' });
  return host.update({ ...nothing, update }, { ...request, change: {} });
}

function throwing(error) {
  return () => {
    throw error;
  };
}

test('each rejection becomes the answer that fits it', async () => {
  const cases = [
    [new Invalid('too short'), { status: 422, code: 'name_invalid', detail: 'too short' }],
    [new Busy(0.5), { status: 423, code: 'name_busy', retryAfterMs: 1 }],
    [new Forbidden('not yours'), { status: 403, code: 'forbidden', detail: 'not yours' }],
    [new Unavailable('later'), { status: 503, code: 'tenant_unavailable', detail: 'later' }],
  ];
  for (const [error, expected] of cases) {
    assert.deepEqual(await registering(throwing(error)), expected);
    assert.deepEqual(await updating(throwing(error)), expected);
  }
  assert.deepEqual(await registering(throwing(new Taken())), { status: 409, code: 'name_taken' });
  assert.deepEqual(await updating(throwing(new Missing())), { status: 404, code: 'not_found' });
  const taken = { status: 403, code: 'forbidden', detail: 'the name is taken' };
  assert.deepEqual(await updating(throwing(new Taken())), taken);
});

test('any other error ends the call in a trap, with the error itself', async () => {
  const error = new TypeError('broken');
  const host = fakeHost();
  const register = ({ name }) => {
    nameLock(name);
    throw error;
  };
  const outcome = await host.register({ ...nothing, register }, request);
  assert.deepEqual([outcome.status, outcome.code, outcome.error], [500, 'handler_trapped', error]);
  assert.equal(host.isLocked('ada'), false);
});

test('what is thrown cannot pass for a rejection by its shape', async () => {
  for (const thrown of [
    { tag: 'taken' },
    'taken',
    undefined,
    Object.assign(new Error('x'), { payload: { tag: 'taken' } }),
  ]) {
    assert.equal((await registering(throwing(thrown))).code, 'handler_trapped');
  }
  const { error } = await registering(throwing({ tag: 'taken' }));
  assert.equal(error.message, '`register` threw {"tag":"taken"}, which is neither an Error nor a rejection');
});

test('Missing is for updates alone', async () => {
  const { code, error } = await registering(throwing(new Missing()));
  assert.equal(code, 'handler_trapped');
  assert.match(error.message, /`register` threw Missing, which only `update` may throw/);
});

test('a call returns what it was given', async () => {
  const saved = ({ name, owner }) => nameLock(name).save({ owner });
  assert.equal((await registering(saved)).status, 201);
  assert.equal((await registering(async (it) => saved(it))).status, 201);
  assert.match(
    (await registering(() => undefined)).error.message,
    /`register` returned undefined: return the registration/,
  );
  assert.match((await registering((it) => ({ ...saved(it), owner: 'u2' }))).error.message, /that it was not given/);
  assert.match(
    (await registering(saved.bind(null, { name: 7 }))).error.message,
    /name must be a string, and is number/,
  );
});

test('a request comes with milliseconds as numbers', async () => {
  const seen = [];
  const host = fakeHost();
  const register = ({ name, lifetimeMs, attributes, owner }) => {
    seen.push(lifetimeMs, attributes);
    return nameLock(name).save({ owner });
  };
  await host.register({ ...nothing, register }, { ...request, lifetimeMs: 1500, attributes: { a: 'b' } });
  await host.register({ ...nothing, register }, { ...request, name: 'bob' });
  assert.deepEqual(seen, [1500, [['a', 'b']], undefined, []]);

  const changes = [];
  const update = ({ name, change }) => {
    changes.push(change);
    return find(name);
  };
  for (const change of [{ owner: 'u2' }, { lifetimeMs: null }, { lifetimeMs: 5, attributes: {} }]) {
    await host.update({ ...nothing, update }, { ...request, change });
  }
  assert.deepEqual(changes, [{ owner: 'u2' }, { lifetimeMs: null }, { lifetimeMs: 5, attributes: [] }]);
});

test('a handler without `update` lets nothing be changed', async () => {
  assert.deepEqual(Object.keys(namelock.handler(nothing)), ['handler']);
  assert.equal((await fakeHost().update(nothing, { ...request, change: {} })).code, 'unsupported');
  assert.throws(() => namelock.handler({ register() {} }), /`free` is undefined/);
});

test('a failure of the host decides the code of Unavailable', async () => {
  const code = async (down) => {
    const host = fakeHost(down === 'lease' ? { leaseMs: 2000 } : {});
    if (down !== 'lease') host.down[down] = true;
    return (await host.register({ ...nothing, register: ({ name, owner }) => nameLock(name).save({ owner }) }, request))
      .code;
  };
  assert.deepEqual(
    [await code('locks'), await code('names'), await code('lease')],
    ['lock_unavailable', 'names_unavailable', 'lease_lost'],
  );
});

test('a setting is parsed, and one that is wrong is heard of in the log alone', (t) => {
  const host = fakeHost({ settings: { wait_ms: 500, town: 'Ulm', limit: 'secret' } });
  assert.deepEqual(
    [setting('wait_ms'), setting('wait_ms', wholeNumber), setting('town'), setting('other')],
    ['500', 500, 'Ulm', undefined],
  );
  const log = t.mock.method(console, 'error', () => {});
  assert.throws(
    () => setting('limit', wholeNumber),
    (error) => error instanceof Unavailable && error.message === 'the setting `limit` of this handler cannot be used',
  );
  assert.deepEqual(log.mock.calls[0].arguments, [
    'cannot use "secret" as the setting `limit`: it is not a whole number',
  ]);
  for (const wrong of ['', '-1', '1.5', '1e3', ' 1', '9007199254740993']) {
    host.settings.limit = wrong;
    assert.throws(() => setting('limit', wholeNumber), Unavailable, wrong);
  }
});
