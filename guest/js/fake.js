// A host in memory, for tests of handlers. The documentation is in fake.d.ts.

import { FakeHost } from './src/fake/host.js';
import { activate } from './src/host/fake.js';

export { FakeHost };

export function fakeHost(options) {
  const host = new FakeHost(options);
  activate(host.bindings);
  return host;
}
