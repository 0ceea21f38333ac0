/**
 * How long anything may take before a test gives up on it, ms: machines are slow, other work runs beside, and some waits of the parts
 * themselves are long (a controller that lost its API server pauses for up to a minute). A test waits for what it wants to see with this
 * patience and no other; only what goes wrong takes so long.
 */
export const PATIENCE_MS = 180_000;
