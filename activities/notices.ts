import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import type { Logger } from 'pino';
import { createLogSink } from '../adapters/notices/log.ts';
import type { Notice, NoticeSink } from '../adapters/notices/notice.ts';
import { createWebhookSink } from '../adapters/notices/webhook.ts';
import type { Database } from '../store/database.ts';
import { appendEvent, getRelease, loadSpec } from '../store/releases.ts';
import type { ReleaseActivities } from './contract.ts';
import { askedAt, finalErrors } from './watch.ts';

/** After so many attempts a receiver that is down has lost the notice, and the release goes on. */
const MAX_ATTEMPTS = 4;
const RETRY_MS = 2_000;

export interface NoticesDeps {
  db: Database;
  log: Logger;
  /** Signs webhooks; left out: unsigned. */
  webhookSecret?: string | undefined;
}

export function createNoticesActivities({
  db,
  log,
  webhookSecret,
}: NoticesDeps): Pick<ReleaseActivities, 'notify'> {
  return {
    /** Tells the log once and the release's webhook at least once, under one idempotency key; a receiver that is down never blocks a release. */
    notify: ({ progress, event, text }) =>
      finalErrors(async () => {
        const { release, stage, sequence } = progress;
        const row = await getRelease(db, release);
        const { webhook } = await loadSpec(db, row.spec);
        const notice: Notice = {
          id: `${release}/${sequence}/${event}`,
          release,
          application: row.application,
          event,
          stage,
          text,
          at: new Date(askedAt()).toISOString(),
        };
        const first = await appendEvent(db, {
          release,
          name: `notice/${sequence}/${event}`,
          at: new Date(askedAt()),
          actor: 'slipway',
          kind: 'notice',
          details: { event, text },
        });
        if (first) await createLogSink(log).deliver(notice);
        if (webhook === undefined) return;
        await deliverOrGiveUp(createWebhookSink({ url: webhook, secret: webhookSecret }), notice, log);
      }),
  };
}

async function deliverOrGiveUp(sink: NoticeSink, notice: Notice, log: Logger): Promise<void> {
  const delivery = await sink.deliver(notice);
  if (delivery.kind === 'delivered') return;
  const { attempt } = activityInfo();
  if (delivery.kind === 'retry' && attempt < MAX_ATTEMPTS) {
    throw ApplicationFailure.create({
      type: 'NOTICE_NOT_DELIVERED',
      message: `${sink.name}: ${delivery.message}`,
      nextRetryDelay: RETRY_MS * 2 ** (attempt - 1),
      category: ApplicationFailureCategory.BENIGN,
    });
  }
  const { release, application, id } = notice;
  log.warn(
    { release, application, notice: id, receiver: sink.name, attempt },
    `notice lost: ${delivery.message}`,
  );
}
