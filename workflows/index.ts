/** Every workflow that a worker of Slipway runs; the names are the workflow types. */
export { reaper } from './reaper.ts';
export { release } from './release.ts';
export { sweep } from './sweep.ts';
export { sweeper } from './sweeper.ts';
