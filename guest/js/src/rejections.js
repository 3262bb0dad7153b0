// Why a request is refused, as errors that are thrown; and what each error of the host becomes.

export class Rejection extends Error {
  constructor(tag, message, options) {
    super(message, options);
    this.name = new.target.name;
    this.tag = tag;
  }
}

export class Invalid extends Rejection {
  constructor(text, options) {
    super('invalid', text, options);
  }
}

export class Taken extends Rejection {
  constructor(registration) {
    super('taken', 'the name is taken');
    this.registration = registration;
  }
}

export class Busy extends Rejection {
  constructor(retryAfterMs) {
    super('busy', `another call is working on the name; try again in ${retryAfterMs} ms`);
    this.retryAfterMs = retryAfterMs;
  }
}

export class Forbidden extends Rejection {
  constructor(text, options) {
    super('forbidden', text, options);
  }
}

export class Unavailable extends Rejection {
  // `reason` is for the tenant's log; callers do not see it.
  constructor(text, { reason, ...options } = {}) {
    super('unavailable', text, options);
    this.reason = reason;
  }
}

export class Missing extends Rejection {
  constructor() {
    super('missing', 'the name has no active registration');
  }
}

/**
 * Whether this is an error that the host answered: the bindings throw it with the answer as its payload. It is no
 * `instanceof Error`, because they have globals of their own.
 */
export function isAnswer(error) {
  return typeof error === 'object' && error !== null && Object.hasOwn(error, 'payload');
}

/** Calls the host; an error that it answers is thrown as the rejection that `translate` makes of it. */
export function ask(call, translate) {
  try {
    return call();
  } catch (error) {
    if (isAnswer(error)) throw translate(error.payload);
    throw error;
  }
}

export function fromAcquire({ tag, val }) {
  switch (tag) {
    case 'busy':
      return new Busy(Number(val));
    case 'unavailable':
      return new Unavailable('the lock service cannot grant', { reason: val });
    case 'limit':
      return new Unavailable(val, { reason: val });
    case 'invalid-name':
      return new Invalid(val);
    default:
      return unknown('acquire-error', tag);
  }
}

export function fromLost(lost) {
  const reason =
    lost === 'gone'
      ? 'the lease is gone: it has expired, or the lock service has lost it'
      : 'the lock service did not answer; the lease may or may not still be held';
  return new Unavailable('the lease on the name was lost', { reason });
}

export function fromNames({ tag, val }) {
  switch (tag) {
    case 'unavailable':
      return new Unavailable('the names database does not answer', { reason: val });
    case 'invalid':
      return new Invalid(val);
    default:
      return unknown('names-error', tag);
  }
}

export function fromSave(registration) {
  return ({ tag, val }) => {
    switch (tag) {
      case 'taken':
        return new Taken(registration(val));
      case 'lease-lost':
        return new Unavailable('the lease on the name was lost', {
          reason: 'the lease is lost, or lasts no longer than a write may take',
        });
      case 'unavailable':
        return new Unavailable('the names database does not answer; the write may or may not have been done', {
          reason: val,
        });
      case 'invalid':
        return new Invalid(val);
      default:
        return unknown('save-error', tag);
    }
  };
}

function unknown(type, tag) {
  return new Error(`the host answered a ${type} that this version of namelock does not know: ${tag}`);
}
