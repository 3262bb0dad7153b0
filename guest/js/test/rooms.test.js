import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Invalid } from 'namelock';
import { fakeHost } from 'namelock/fake';
import { roomName } from '../examples/room-name.js';
import * as rooms from '../examples/rooms.js';

// The cases and texts of guest/handlers/rooms/src/name.rs.
test('different spellings of one name become the same bytes', () => {
  const cases = [
    ['lobby', 'lobby'],
    ['  Lobby\t\n', 'lobby'],
    ['\u0085Lobby\u3000', 'lobby'],
    ['Café', 'caf\u{e9}'],
    ['CAFE\u{301}', 'caf\u{e9}'],
    ['\u{212b}ngstrom', '\u{e5}ngstrom'],
    ['İzmir', 'i\u{307}zmir'],
    ['ΟΔΟΣ', 'οδος'],
    ['Room 7-b_2', 'room 7-b_2'],
    ['Зал ٣', 'зал ٣'],
    ['हिन्दी', 'हिन्दी'],
    ['あ', 'あ'],
    ['x'.repeat(64), 'x'.repeat(64)],
  ];
  for (const [text, expected] of cases) assert.equal(roomName(text), expected, JSON.stringify(text));
});

test('an invalid name is refused with the rule it breaks', () => {
  const none = (char) =>
    `the name of a room may have only letters, digits, single spaces, "-" and "_"; ${char} is none of them`;
  const empty = 'the name of a room must have at least one letter or digit';
  const edge = 'the name of a room must start and end with a letter or a digit';
  const cases = [
    ['', empty],
    [' \u{a0}\t ', empty],
    ['x'.repeat(65), 'the name of a room may have at most 64 characters; this one has 65'],
    ['-lobby', edge],
    ['lobby_', edge],
    ['-', edge],
    ['the  lobby', 'the name of a room must not have two spaces in a row'],
    ['the\tlobby', none("'\\t'")],
    ['the\u{a0}lobby', none("'\\u{a0}'")],
    ['lobby!', none("'!'")],
    ["bob's", none("'\\''")],
    ['lob\0by', none("'\\0'")],
    ['\u{301}a', none("'\\u{301}'")],
    ['a-\u{301}', none("'\\u{301}'")],
    ['🦀', none("'🦀'")],
    ['\u{feff}lobby', none("'\\u{feff}'")],
  ];
  for (const [text, message] of cases) {
    assert.throws(
      () => roomName(text),
      (error) => error instanceof Invalid && error.message === message,
      JSON.stringify(text),
    );
  }
});

/** What becomes of the name of a room: + and its canonical form, or - and the text of the refusal. */
function outcome(text) {
  try {
    return ['+', roomName(text)];
  } catch (error) {
    if (!(error instanceof Invalid)) throw error;
    return ['-', error.message];
  }
}

// The file has what the rules in Rust make of every character of Unicode 14; its first lines say how.
test('every character stands where Rust says', () => {
  const file = readFileSync(new URL('../../handlers/rooms/characters.txt', import.meta.url), 'utf8');
  const digest = createHash('sha256');
  const differences = [];
  for (const [, first, last, verdicts] of file.matchAll(/^(\w+)\.\.(\w+) (.+)$/gm)) {
    for (let code = parseInt(first, 16); code <= parseInt(last, 16); code++) {
      const char = String.fromCodePoint(code);
      const outcomes = [`${char}a`, `a${char}a`, `a-${char}a`].map(outcome);
      const same = outcomes.map(([verdict]) => verdict).join('') === verdicts;
      if (!same) differences.push(`${code.toString(16)} ${verdicts}`);
      for (const [, what] of outcomes) digest.update(`${what}\n`);
    }
  }
  assert.deepEqual(differences.slice(0, 20), []);
  assert.equal(digest.digest('hex'), file.match(/^sha256 (\w+)$/m)[1]);
});

test('a room is registered once, changed and freed by its owner', async () => {
  const host = fakeHost();
  const red = { name: 'red room', owner: 'ann' };
  const { status, registration } = await host.register(rooms, { ...red, name: ' Red Room' });
  assert.deepEqual([status, registration.name, registration.expiresMs], [201, 'red room', host.nowMs + 86_400_000]);
  assert.equal((await host.register(rooms, { ...red, owner: 'bob' })).code, 'name_taken');

  const change = { owner: 'bob', lifetimeMs: null };
  const notYours = { status: 403, code: 'forbidden', detail: 'the room belongs to somebody else' };
  assert.deepEqual(await host.update(rooms, { ...red, owner: 'bob', change }), notYours);
  assert.equal((await host.update(rooms, { ...red, change })).registration.owner, 'bob');
  assert.equal((await host.update(rooms, { name: 'no room', owner: 'ann', change })).code, 'not_found');

  assert.deepEqual(await host.free(rooms, red), notYours);
  for (let times = 0; times < 2; times++)
    assert.deepEqual(await host.free(rooms, { ...red, owner: 'bob' }), { status: 204 });
  assert.deepEqual(host.registrations(), []);
});

test('the settings decide how long a room lasts and how long a call waits', async () => {
  const host = fakeHost({ settings: { default_lifetime_ms: 1000, wait_ms: 300 } });
  host.hold('lobby', 300);
  const { registration } = await host.register(rooms, { name: 'Lobby', owner: 'ann' });
  assert.equal(registration.expiresMs - registration.createdMs, 1000);
  host.hold('hall', 301);
  assert.deepEqual(await host.register(rooms, { name: 'Hall', owner: 'ann' }), {
    status: 423,
    code: 'name_busy',
    retryAfterMs: 1,
  });
});
