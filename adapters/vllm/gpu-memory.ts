import type { Prometheus } from '../prometheus/prometheus.ts';

/**
 * The fullest GPU of the serving's pods, 0–1, as NVIDIA's DCGM exporter measures it; null where Prometheus has no such figures. Scraped
 * with `honorLabels` the exporter's own labels name the pod, without it Prometheus moves them to `exported_…`.
 */
export async function gpuMemoryShare(prometheus: Prometheus, serving: string): Promise<number | null> {
  const share = (label: string): string => {
    const of = (metric: string): string => `DCGM_FI_DEV_FB_${metric}{${label}=~"${serving}-.+"}`;
    return `${of('USED')} / (${of('USED')} + ${of('FREE')})`;
  };
  const answer = await prometheus.query(`max((${share('pod')}) or (${share('exported_pod')}))`);
  return answer.kind === 'value' ? answer.value : null;
}
