// Time and chance come from here, so that tests can decide both.

export interface Clock {
  now(): number;
  after(ms: number, run: () => void): () => void;
  random(): number;
}

export const realClock: Clock = {
  now: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};

export const pause = (clock: Clock, ms: number): Promise<void> =>
  new Promise((resolve) => void clock.after(ms, resolve));

/** Doubles from `first` up to `most`; half of it is chance, so that clients do not come back in step. */
export function backOff(attempt: number, random: () => number, first = 500, most = 30_000): number {
  const whole = Math.min(most, first * 2 ** Math.min(attempt, 16));
  return whole / 2 + (whole / 2) * random();
}

/** Unguessable, and unlike `crypto.randomUUID` also there on plain http pages. */
export function newClientId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
