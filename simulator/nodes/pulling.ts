import type { V1Container } from '@kubernetes/client-node';
import { doubled, goDuration } from './backoff.ts';
import type { ContainerContext, Waiting } from './container-context.ts';
import { notFound, pullsAlways } from './images.ts';

/** Settles when the node has the container's image; tries again and again for one that does not exist. */
export async function pullImage(
  { image = '', imagePullPolicy }: V1Container,
  { node, record }: ContainerContext,
  { say, pause }: Waiting,
): Promise<void> {
  if (node.pulled.has(image) && !pullsAlways(image, imagePullPolicy)) {
    record('Normal', 'Pulled', `Container image "${image}" already present on machine`);
    return;
  }
  let wait = 0;
  for (;;) {
    record('Normal', 'Pulling', `Pulling image "${image}"`);
    await pause(node.pullMs);
    if (node.images.some((pattern) => pattern.test(image))) {
      const took = goDuration(node.pullMs);
      record(
        'Normal',
        'Pulled',
        `Successfully pulled image "${image}" in ${took} (${took} including waiting).`,
      );
      node.pulled.add(image);
      return;
    }
    const why = notFound(image);
    record('Warning', 'Failed', `Failed to pull image "${image}": ${why}`);
    record('Warning', 'Failed', 'Error: ErrImagePull');
    say('ErrImagePull', why);
    wait = doubled(wait, node.backoff);
    await pause(wait / 2);
    record('Normal', 'BackOff', `Back-off pulling image "${image}"`);
    record('Warning', 'Failed', 'Error: ImagePullBackOff');
    say('ImagePullBackOff', `Back-off pulling image "${image}": ErrImagePull: ${why}`);
    await pause(wait / 2);
  }
}
