// What the build puts into a component in the place of what its engine lacks, against what Node has.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import vm from 'node:vm';
import * as acorn from 'acorn';
import * as esbuild from 'esbuild';
import { complete } from '../tool/engine.mjs';
import { makeNormalize, normalizeData } from '../tool/normalize.mjs';

const CHARS = [];
for (let code = 0; code <= 0x10ffff; code++) if (code < 0xd800 || code > 0xdfff) CHARS.push(String.fromCodePoint(code));
const FORMS = ['NFC', 'NFD', 'NFKC', 'NFKD'];

test('normalization is that of Node, for every character and for marks in any order', () => {
  const data = normalizeData({ compatibility: true });
  const normalize = makeNormalize(data);
  const check = (text, form) => {
    if (normalize(text, form) !== text.normalize(form)) assert.fail(`${form} of ${JSON.stringify(text)}`);
  };
  for (const form of FORMS) for (const char of CHARS) check(char, form);

  const parts = [
    ...Object.keys(data.canonical),
    ...data.classes.flatMap((marks) => [...marks]),
    'a',
    'e',
    '\u1100',
    '\u1161',
    '\u11a8',
    '가',
  ];
  // A linear congruential generator: the same texts in every run.
  let seed = 1;
  const pick = () => parts[(seed = (seed * 1103515245 + 12345) % 2 ** 31) % parts.length];
  for (let texts = 0; texts < 50_000; texts++) {
    let text = '';
    for (let length = texts % 7; length >= 0; length--) text += pick();
    for (const form of FORMS) check(text, form);
  }
  assert.throws(() => normalize('a', 'NFX'), RangeError);
});

/** Runs the source in globals without normalization and final sigmas, as the engine has them. */
async function run(source) {
  const context = vm.createContext({});
  vm.runInContext(
    `delete String.prototype.normalize;
     const lower = String.prototype.toLowerCase;
     String.prototype.toLowerCase = function () { return [...String(this)].map((char) => lower.call(char)).join(''); };`,
    context,
  );
  const whole = await complete(source, { acorn, esbuild });
  return vm.runInContext(whole, context);
}

test('a word ends with the sigma for it', async () => {
  for (const text of ['ΟΔΟΣ', 'ΟΔΟΣ ΣΑΣ', 'Σ', 'ΑΣ.Β', "ΑΣ'", 'aΣ\u0301b', 'aΣ\u0301']) {
    assert.equal(await run(`${JSON.stringify(text)}.toLowerCase()`), text.toLowerCase(), text);
  }
});

test('text is composed where the engine cannot', async () => {
  assert.equal(await run("'CAFE\\u0301'.normalize()"), 'CAF\u00c9');
  assert.equal(await run("'\\ufb01'.normalize('NFKC')"), 'fi');
});

test('property escapes mean what they mean to Node', async () => {
  for (const regex of [
    '/^\\p{L}$/u',
    '/^[\\p{N}_-]$/u',
    '/^\\P{Alphabetic}$/u',
    '/^[^\\p{M}\\]]$/u',
    '/^\\p{Lu}$/iu',
  ]) {
    assert.doesNotMatch(await complete(regex, { acorn, esbuild }), /p\{/i);
    const matched = await run(
      `((chars) => chars.filter((char) => ${regex}.test(char)).length)(${JSON.stringify(CHARS.slice(0, 0x3000))})`,
    );
    const native = vm.runInNewContext(regex);
    assert.equal(matched, CHARS.slice(0, 0x3000).filter((char) => native.test(char)).length, regex);
  }
});

test('what looks like a property escape and is none is kept', async () => {
  for (const source of [
    "'/\\p{L}/u'",
    '`${1}/\\p{L}/u`',
    '/^\\\\p{2}$/u.source',
    '/p{2}/u.source',
    '/\\p{L}/.source',
  ]) {
    assert.equal(await run(source), vm.runInNewContext(source), source);
  }
});
