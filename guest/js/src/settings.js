// The tenant's settings: the table [settings] of its tenant.toml.

import { settings } from '#host';
import { Unavailable, ask } from './rejections.js';

export function setting(key, parse = (value) => value) {
  const value = ask(
    () => settings.get(key),
    ({ val }) => unusable(key, `cannot read the setting \`${key}\`: ${val}`),
  );
  if (value === undefined) return undefined;
  try {
    return parse(value);
  } catch (error) {
    const reason = `cannot use ${JSON.stringify(value)} as the setting \`${key}\`: ${error?.message ?? error}`;
    console.error(reason.replace(/[\r\n]/g, ' '));
    throw unusable(key, reason);
  }
}

export function wholeNumber(value) {
  const number = Number(value);
  if (!/^[0-9]+$/.test(value) || !Number.isSafeInteger(number)) throw new Error('it is not a whole number');
  return number;
}

// Callers hear the key alone: the value may be confidential.
function unusable(key, reason) {
  return new Unavailable(`the setting \`${key}\` of this handler cannot be used`, { reason });
}
