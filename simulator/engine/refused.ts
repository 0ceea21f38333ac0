/** The engine cannot start; the message is the one that vLLM ends with. */
export class StartRefused extends Error {
  override name = 'StartRefused';
}
