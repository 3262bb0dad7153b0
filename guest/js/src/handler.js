// Adapts a handler's functions to what componentize-js exports.

import { Forbidden, Rejection } from './rejections.js';
import { fromChange, fromMillis, toMillis, toRegistration } from './wire.js';

export function handler({ register, free, update }) {
  const component = {
    handler: {
      register: adapt('register', register, async (request) =>
        granted('register', await register(fromRequest(request))),
      ),
      free: adapt('free', free, async (name, owner) => void (await free(name, owner))),
    },
  };
  if (update !== undefined) {
    component.updates = {
      update: adapt('update', update, async (request) => granted('update', await update(fromUpdateRequest(request)))),
    };
  }
  return component;
}

function adapt(what, given, run) {
  if (typeof given !== 'function') {
    throw new TypeError(`a handler exports the functions \`register\` and \`free\`; \`${what}\` is ${typeof given}`);
  }
  return async (...values) => {
    try {
      return await run(...values);
    } catch (error) {
      throw error instanceof Rejection ? refusal(what, error) : trap(what, error);
    }
  };
}

function granted(what, registration) {
  if (typeof registration !== 'object' || registration === null) {
    throw new TypeError(
      `\`${what}\` returned ${String(registration)}: return the registration that \`save\`, \`update\` or \`find\` gave, ` +
        'or throw a rejection',
    );
  }
  return toRegistration(registration);
}

/**
 * The variant that the contract has for a rejection. What is thrown without being an Error is the error of the result.
 */
function refusal(what, rejection) {
  if (what === 'update') {
    // There is no such case in the contract; of the calls to the host only a save ends like this.
    if (rejection.tag === 'taken') rejection = new Forbidden(rejection.message);
  } else if (rejection.tag === 'missing') {
    return trap(
      what,
      new TypeError(`\`${what}\` threw Missing, which only \`update\` may throw`, { cause: rejection }),
    );
  }
  switch (rejection.tag) {
    case 'taken':
    case 'missing':
      return { tag: rejection.tag };
    case 'busy':
      return { tag: 'busy', val: toMillis(rejection.retryAfterMs, 'retryAfterMs') };
    default:
      return { tag: rejection.tag, val: rejection.message };
  }
}

/**
 * Makes the bindings throw `error`, which ends the call in a trap with the error and its stack on standard error.
 *
 * They take the property `payload` of what is thrown for the error of the result, and they do not know this Error for
 * one, because they are loaded beside the handler with globals of their own: thrown as it is, its stack would be lost.
 */
function trap(what, error) {
  const thrown = isError(error)
    ? error
    : new TypeError(`\`${what}\` threw ${describe(error)}, which is neither an Error nor a rejection`);
  return Object.defineProperty(new Error(thrown.message, { cause: thrown }), 'payload', {
    get() {
      throw thrown;
    },
  });
}

function isError(value) {
  return value instanceof Error || Object.prototype.toString.call(value) === '[object Error]';
}

function describe(value) {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

function fromRequest({ name, owner, lifetimeMs, attributes }) {
  return { name, owner, lifetimeMs: lifetimeMs === undefined ? undefined : fromMillis(lifetimeMs), attributes };
}

function fromUpdateRequest({ name, owner, change }) {
  return { name, owner, change: fromChange(change) };
}
