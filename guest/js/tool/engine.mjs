// What the engine of componentize-js lacks, because it is built without ICU, is put into the component: a handler and
// its tests then see the same under Node and in the component.

import { normalizeSource } from './normalize.mjs';

// Without ICU a sigma at the end of a word becomes "σ", while Node and Rust make "ς" of it.
const SIGMA = `if ('\u0391\u03a3'.toLowerCase() !== '\u03b1\u03c2') {
  const lower = String.prototype.toLowerCase;
  const last = /(?<=\\p{Cased}\\p{Case_Ignorable}*)\u03a3(?!\\p{Case_Ignorable}*\\p{Cased})/gu;
  Object.defineProperty(String.prototype, 'toLowerCase', {
    value: function () {
      const text = String(this);
      return lower.call(text.includes('\u03a3') ? text.replace(last, '\u03c2') : text);
    },
    writable: true, configurable: true,
  });
}
`;

/** Returns the source with what it uses and the engine lacks. */
export async function complete(source, tools) {
  let missing = '';
  if (/\bnormalize\b/.test(source)) missing += normalizeSource({ compatibility: /NFK[CD]/.test(source) });
  if (/\btoLowerCase\b/.test(source)) missing += SIGMA;
  const { code } = await tools.esbuild.transform(missing, { minify: true, charset: 'utf8' });
  return withoutPropertyEscapes(code + source, tools);
}

/** Writes \p{…} of regular expressions out, as the ranges of characters that it means to the Node that builds. */
function withoutPropertyEscapes(source, { acorn }) {
  const found = [];
  acorn.parse(source, {
    ecmaVersion: 'latest',
    sourceType: 'module',
    onToken: ({ type, value, start, end }) => {
      if (type === acorn.tokTypes.regexp && /[uv]/.test(value.flags)) found.push({ ...value, start, end });
    },
  });
  for (const { pattern, flags, start, end } of found.reverse()) {
    source = `${source.slice(0, start)}/${writtenOut(pattern)}/${flags}${source.slice(end)}`;
  }
  return source;
}

/** The pattern without \p and \P. Any other escape is kept, and tells where a class begins and ends. */
function writtenOut(pattern) {
  let depth = 0;
  return pattern.replace(/\\p\{[^}]*\}|\\.|[[\]]/giu, (part) => {
    if (part === '[') depth += 1;
    if (part === ']') depth -= 1;
    if (!/^\\p\{/iu.test(part)) return part;
    return depth > 0 ? rangesOf(part) : `[${rangesOf(part)}]`;
  });
}

const ranges = new Map();

function rangesOf(property) {
  if (!ranges.has(property)) ranges.set(property, findRanges(new RegExp(`^${property}$`, 'u')));
  return ranges.get(property);
}

function findRanges(one) {
  const parts = [];
  const written = (code) => `\\u{${code.toString(16)}}`;
  let first;
  for (let code = 0; code <= 0x110000; code++) {
    const is = code <= 0x10ffff && one.test(String.fromCodePoint(code));
    if (is && first === undefined) first = code;
    if (!is && first !== undefined) {
      parts.push(first === code - 1 ? written(first) : `${written(first)}-${written(code - 1)}`);
      first = undefined;
    }
  }
  return parts.join('');
}
