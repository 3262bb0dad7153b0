// The bindings of the world, in a component. esbuild takes this file for `#host` under the condition
// `namelock-component`.
export * as locks from 'namelock:registration/locks@0.1.1';
export * as names from 'namelock:registration/names@0.1.1';
export * as settings from 'wasi:config/store@0.2.0-rc.1';
