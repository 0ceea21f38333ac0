import type { Logger } from 'pino';
import type { NoticeSink } from './notice.ts';

/** Notices as lines of the log. */
export function createLogSink(log: Logger): NoticeSink {
  return {
    name: 'log',
    async deliver({ release, application, event, stage, text, id }) {
      log.info({ release, application, stage, event, notice: id }, text);
      return { kind: 'delivered' };
    },
  };
}
