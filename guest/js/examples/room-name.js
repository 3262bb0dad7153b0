// The rules for names of rooms, as the handler `rooms` in Rust has them, with the same texts.
//
// They are the same for every character of Unicode 14. Of those that are newer, each language knows what its own
// version of Unicode has, and refuses the others.

import { Invalid } from 'namelock';

/** The longest name of a room, in characters (Unicode scalar values) of its canonical form. */
const NAME_CHARS_MAX = 64;

const SEPARATOR = /^[ _-]$/;
// Many scripts write a vowel, or its absence, as a mark on the preceding letter.
const MARK = /^\p{M}$/u;
const LETTER_OR_DIGIT = /^[\p{Alphabetic}\p{N}]$/u;

/** Brings `text` into its canonical form (trimmed, lowercase, NFC), or refuses it with the rule that it breaks. */
export function roomName(text) {
  const name = canonical(text);
  const chars = [...name];
  if (chars.length === 0) throw new Invalid('the name of a room must have at least one letter or digit');
  if (chars.length > NAME_CHARS_MAX) {
    throw new Invalid(`the name of a room may have at most ${NAME_CHARS_MAX} characters; this one has ${chars.length}`);
  }
  if (SEPARATOR.test(chars[0]) || SEPARATOR.test(chars.at(-1))) {
    throw new Invalid('the name of a room must start and end with a letter or a digit');
  }
  let before = ' ';
  for (const char of chars) {
    if (char === ' ' && before === ' ') throw new Invalid('the name of a room must not have two spaces in a row');
    // Some marks count as alphabetic, and need something to stand on all the same.
    const fits = MARK.test(char) ? !SEPARATOR.test(before) : SEPARATOR.test(char) || LETTER_OR_DIGIT.test(char);
    if (!fits) {
      throw new Invalid(
        'the name of a room may have only letters, digits, single spaces, "-" and "_"; ' +
          `${quoted(char)} is none of them`,
      );
    }
    before = char;
  }
  return name;
}

/** It is composed before, because a letter and its accent may come as one character or as two, and after, because
 * changing the case can decompose a character. */
function canonical(text) {
  // `trim()` keeps U+0085 and takes U+FEFF away, which is no white space.
  const trimmed = text.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, '');
  return trimmed.normalize('NFC').toLowerCase().normalize('NFC');
}

/** The character in quotes, as Rust writes it: by its number if it cannot be seen by itself. */
function quoted(char) {
  const short = { '\0': '\\0', '\t': '\\t', '\n': '\\n', '\r': '\\r', "'": "\\'", '\\': '\\\\' }[char];
  const hidden = /^[\p{C}\p{Z}\p{M}]$/u.test(char) && char !== ' ';
  return `'${short ?? (hidden ? `\\u{${char.codePointAt(0).toString(16)}}` : char)}'`;
}
