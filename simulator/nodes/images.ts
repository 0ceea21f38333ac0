/** What a container runtime says of an image that its registry does not have. */
export function notFound(image: string): string {
  const name = image.includes('/') ? image : `library/${image}`;
  const full = /^[^/]+[.:][^/]*\//.test(name) || name.startsWith('localhost/') ? name : `docker.io/${name}`;
  const reference = /(@|:[^/]+$)/.test(full) ? full : `${full}:latest`;
  return (
    `rpc error: code = NotFound desc = failed to pull and unpack image "${reference}": ` +
    `failed to resolve reference "${reference}": ${reference}: not found`
  );
}

/** Whether a kubelet asks the registry although the node has the image already. */
export function pullsAlways(image: string, policy: string | undefined): boolean {
  if (policy !== undefined) return policy === 'Always';
  return /:latest$/.test(image) || !/(@|:[^/]+$)/.test(image);
}
