/** The words of the design that are plain values. */
export type Arm = 'stable' | 'canary';

export type Phase = 'Progressing' | 'Paused' | 'Healthy' | 'Degraded';

export const stages = [
  'registering',
  'preflight',
  'evaluating',
  'provisioning',
  'canary',
  'deciding',
  'sign-off',
  'promoting',
  'baking',
  'done',
  'rolling-back',
  'rolled-back',
] as const;
export type Stage = (typeof stages)[number];

export type Role = 'engineer' | 'approver' | 'auditor' | 'admin';
