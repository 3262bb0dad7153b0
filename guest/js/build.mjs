#!/usr/bin/env node
// Builds a component of a handler: bundles it with esbuild, then puts it into a JavaScript engine with componentize-js.

import { existsSync } from 'node:fs';
import { mkdtemp, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { complete } from './tool/engine.mjs';

const USAGE = `Builds a component of a handler in JavaScript or TypeScript.

Usage: namelock-js-build HANDLER [--out FILE] [--bundle FILE] [--wit DIR]

  HANDLER        the module that exports the functions register and free, and update if registrations can be changed
  --out FILE     where the component is written [default: handler.wasm]
  --bundle FILE  where the JavaScript in the component is written too: the stacks in the log count its lines
  --wit DIR      the contract [default: the one that this package was made for]`;

/** What is wrong is for the reader to mend: it is shown without a stack. */
class Problem extends Error {}

const here = dirname(fileURLToPath(import.meta.url));

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      out: { type: 'string', default: 'handler.wasm' },
      bundle: { type: 'string' },
      wit: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return console.log(USAGE);
  if (positionals.length !== 1)
    throw new Problem(`one HANDLER is wanted, and ${positionals.length} are given\n\n${USAGE}`);
  const started = Date.now();
  const { bytes, world, source } = await build(positionals[0], values.wit);
  if (values.bundle !== undefined) await writeFile(values.bundle, source);
  // A host that reads its tenants meanwhile finds the old file or the new one.
  await writeFile(`${values.out}.new`, bytes);
  await rename(`${values.out}.new`, values.out);
  const made = `world ${world}, from ${source.length} characters of JavaScript`;
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  console.log(`${values.out}: ${bytes.length} bytes, ${made}, in ${seconds} s`);
}

/** Returns the component of a handler's module, its world, and the JavaScript in it. */
export async function build(file, wit = contract()) {
  if (!existsSync(file)) throw new Problem(`cannot read the handler ${file}: there is no such file`);
  if (!existsSync(join(wit, 'world.wit'))) throw new Problem(`cannot read the contract ${wit}: it has no world.wit`);
  const esbuild = await tool('esbuild');
  const acorn = await tool('acorn');
  // componentize-js imports this and does not declare it, so npm may leave it out.
  await tool('@bytecodealliance/preview2-shim');
  const { componentize } = await tool('@bytecodealliance/componentize-js');
  const bundle = esbuild.build;

  const world = worldOf(file, await exportsOf(bundle, file));
  const folder = await mkdtemp(join(tmpdir(), 'namelock-js-'));
  try {
    const sourcePath = join(folder, `${basename(file).replace(/\.[^.]*$/, '')}.js`);
    const { text } = await bundled(bundle, {
      stdin: {
        contents: `import * as functions from ${JSON.stringify(resolve(file))};
import { handler as component } from 'namelock';
export const { handler, updates } = component(functions);`,
        resolveDir: dirname(resolve(file)),
      },
    });
    const source = await complete(text, { esbuild, acorn });
    await writeFile(sourcePath, source);
    const { component } = await componentize({
      sourcePath,
      witPath: wit,
      worldName: world,
      // No handler may use HTTP, and a host refuses a component that imports it. Never disable "random" or
      // "clocks": the numbers and the time of the build would be those of every call.
      disableFeatures: ['http', 'fetch-event'],
    });
    return { bytes: component, world, source };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The names that the module exports. */
async function exportsOf(bundle, file) {
  const { exports } = await bundled(bundle, { entryPoints: [resolve(file)] });
  return exports;
}

function worldOf(file, exports) {
  for (const wanted of ['register', 'free']) {
    if (!exports.includes(wanted)) {
      throw new Problem(`${file} exports no \`${wanted}\`: write \`export function ${wanted}(…)\``);
    }
  }
  return exports.includes('update') ? 'registrar-with-updates' : 'registrar';
}

async function bundled(bundle, entry) {
  const { outputFiles, metafile } = await bundle({
    ...entry,
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    conditions: ['namelock-component', 'import'],
    external: ['namelock:*', 'wasi:*'],
    charset: 'utf8',
    target: 'esnext',
    outfile: 'handler.js',
  }).catch((error) => {
    // esbuild has shown what is wrong with the source.
    throw error.errors ? new Problem(`cannot bundle the handler: ${error.errors.length} errors, shown above`) : error;
  });
  return { text: outputFiles[0].text, exports: Object.values(metafile.outputs)[0].exports };
}

async function tool(name) {
  try {
    return await import(name);
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    const { peerDependencies } = JSON.parse(await readFile(join(here, 'package.json'), 'utf8'));
    throw new Problem(`the build needs ${name}: npm install --save-dev ${name}@${peerDependencies[name]}`);
  }
}

/**
 * The contract beside this package in its repository, or the copy in the package where it was installed from a file.
 */
function contract() {
  return [join(here, 'wit'), join(here, '../../wit')].find(existsSync) ?? join(here, 'wit');
}

if (process.argv[1] && import.meta.url === pathToFileURL(await realpath(process.argv[1])).href) {
  main().catch((error) => {
    console.error(error instanceof Problem ? `namelock-js-build: ${error.message}` : error);
    process.exitCode = 1;
  });
}
