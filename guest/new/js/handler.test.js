// The handler, against a host in memory: npm test

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeHost } from 'namelock/fake';
import * as codes from './handler.js';

test('a code has one owner at a time', async () => {
  const host = fakeHost();
  const { registration } = await host.register(codes, { name: ' spring ', owner: 'ann' });
  assert.equal(registration.name, 'SPRING');
  assert.equal((await host.register(codes, { name: 'Spring', owner: 'bob' })).code, 'name_taken');
  host.advance(24 * 60 * 60 * 1000);
  assert.equal((await host.register(codes, { name: 'Spring', owner: 'bob' })).status, 201);
});

test('a code that somebody else works on is busy', async () => {
  const host = fakeHost();
  host.hold('SPRING', 300);
  const { code, retryAfterMs } = await host.register(codes, { name: 'spring', owner: 'ann' });
  assert.deepEqual([code, retryAfterMs], ['name_busy', 300]);
});

test('only its owner frees a code', async () => {
  const host = fakeHost();
  host.give('SPRING', { owner: 'ann' });
  assert.equal((await host.free(codes, { name: 'spring', owner: 'bob' })).code, 'forbidden');
  assert.equal((await host.free(codes, { name: 'spring', owner: 'ann' })).status, 204);
  assert.deepEqual(host.registrations(), []);
});
