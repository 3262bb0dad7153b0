// `String.prototype.normalize` for an engine without it, with the data of the Node that builds.

const LAST = 0x10ffff;

/** Returns JavaScript that defines it where it is missing. `compatibility` adds the forms NFKC and NFKD, and 40 kB. */
export function normalizeSource({ compatibility }) {
  const data = JSON.stringify(normalizeData({ compatibility }));
  return `if (!String.prototype.normalize) {
  const normalize = (${makeNormalize})(${data});
  Object.defineProperty(String.prototype, 'normalize', {
    value: function (form) { return normalize(String(this), form); }, writable: true, configurable: true,
  });
}
`;
}

/** Decompositions, compositions and combining classes. Of the classes the order alone matters. */
export function normalizeData({ compatibility }) {
  const canonical = {};
  const compatible = {};
  const composed = {};
  const marks = [];
  for (let code = 0x80; code <= LAST; code++) {
    // Hangul is computed; surrogates are no characters.
    if (code >= 0xac00 && code <= 0xdfff) continue;
    const char = String.fromCodePoint(code);
    const parts = char.normalize('NFD');
    if (parts !== char) {
      canonical[char] = parts;
      const [last, ...rest] = [...parts].reverse();
      const first = rest.reverse().join('').normalize('NFC');
      if (first !== '' && char.normalize('NFC') === char && (first + last).normalize('NFC') === char) {
        composed[first + last] = char;
      }
    }
    const wide = compatibility ? char.normalize('NFKD') : parts;
    if (wide !== parts) compatible[char] = wide;
    if (/\p{M}/u.test(char) && hasClass(char)) marks.push(char);
  }
  return { canonical, compatible, composed, classes: orderOf(marks) };
}

// U+0334 has the lowest class, U+0345 the highest: every mark with a class changes places with one of them.
function hasClass(mark) {
  return swaps(mark, '\u0334') || swaps('\u0345', mark);
}

/** Whether the marks change places: whether the first has the higher class. */
function swaps(first, second) {
  const both = first + second;
  return (
    first !== second &&
    both.normalize('NFD') === second.normalize('NFD') + first.normalize('NFD') &&
    both !== second + first
  );
}

/** The marks of each class, from the lowest to the highest. */
function orderOf(marks) {
  const classes = [];
  for (const mark of marks) {
    // A mark that decomposes is never put into order itself.
    if (mark.normalize('NFD') !== mark) continue;
    const at = classes.findIndex(([one]) => !swaps(mark, one));
    if (at === -1) classes.push([mark]);
    else if (swaps(classes[at][0], mark)) classes.splice(at, 0, [mark]);
    else classes[at].push(mark);
  }
  return classes.map((marksOfClass) => marksOfClass.join(''));
}

/** Makes the function; its text goes into the component, so that it uses nothing from outside. */
export function makeNormalize({ canonical, compatible, composed, classes }) {
  const maps = [canonical, compatible, composed].map((data) => new Map(Object.entries(data)));
  const classOf = new Map(classes.flatMap((marks, index) => [...marks].map((mark) => [mark, index + 1])));
  const [S, L, V, T] = [0xac00, 0x1100, 0x1161, 0x11a7];

  function decompose(text, compatibility) {
    const chars = [];
    for (const char of text) {
      const hangul = char.codePointAt(0) - S;
      if (hangul >= 0 && hangul < 11172) {
        chars.push(
          String.fromCodePoint(L + Math.floor(hangul / 588)),
          String.fromCodePoint(V + Math.floor((hangul % 588) / 28)),
        );
        if (hangul % 28 > 0) chars.push(String.fromCodePoint(T + (hangul % 28)));
      } else {
        chars.push(...((compatibility && maps[1].get(char)) || maps[0].get(char) || char));
      }
    }
    // Marks that follow each other come in the order of their classes; sorting is stable.
    for (let start = 0; start < chars.length; start++) {
      let end = start;
      while (end < chars.length && classOf.has(chars[end])) end++;
      if (end - start > 1) {
        const sorted = chars.slice(start, end).sort((a, b) => classOf.get(a) - classOf.get(b));
        chars.splice(start, end - start, ...sorted);
      }
      start = Math.max(start, end - 1);
    }
    return chars;
  }

  function pair(first, second) {
    const [a, b] = [first.codePointAt(0), second.codePointAt(0)];
    if (a >= L && a < L + 19 && b >= V && b < V + 21) return String.fromCodePoint(S + ((a - L) * 21 + (b - V)) * 28);
    if (a >= S && a < S + 11172 && (a - S) % 28 === 0 && b > T && b < T + 28) return String.fromCodePoint(a + b - T);
    return maps[2].get(first + second);
  }

  function compose(chars) {
    const out = [];
    let starter = -1;
    let before = 0;
    for (const char of chars) {
      const ofChar = classOf.get(char) ?? 0;
      const adjacent = starter === out.length - 1;
      const blocked = !adjacent && (before >= ofChar || before === 0);
      const both = starter >= 0 && !blocked ? pair(out[starter], char) : undefined;
      if (both !== undefined) {
        out[starter] = both;
        continue;
      }
      if (ofChar === 0) starter = out.length;
      before = ofChar;
      out.push(char);
    }
    return out;
  }

  return (text, form = 'NFC') => {
    if (!['NFC', 'NFD', 'NFKC', 'NFKD'].includes(form))
      throw new RangeError(`no form of normalization is called ${form}`);
    if (/^[\0-\x7f]*$/.test(text)) return text;
    const chars = decompose(text, form.includes('K'));
    return (form.endsWith('C') ? compose(chars) : chars).join('');
  };
}
