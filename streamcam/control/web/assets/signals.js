// Subscriptions by key, so that a change draws those components again that show it, and no others.
import { useLayoutEffect, useReducer } from "./ui.js";

const listeners = new Map();

function subscribe(key, listener) {
  if (!listeners.has(key)) listeners.set(key, new Set());
  listeners.get(key).add(listener);
  return () => {
    const set = listeners.get(key);
    set.delete(listener);
    if (!set.size) listeners.delete(key);
  };
}

export function emit(key) {
  // A new session changes everything.
  const keys = key === "hello" ? [...listeners.keys()] : [key];
  for (const each of keys) for (const listener of [...(listeners.get(each) ?? [])]) listener();
}

// Return what `read` gives now, and draw the component again whenever `key` is emitted.
export function useKey(key, read) {
  const [, draw] = useReducer((count) => count + 1, 0);
  useLayoutEffect(() => subscribe(key, () => draw()), [key]);
  return read();
}
