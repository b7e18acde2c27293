// State of the page: all that the server has sent, and the values that a hand holds right now.
import { Connection } from "./connection.js";
import { addNotices, noticesOf } from "./notices.js";
import { Outbox } from "./outbox.js";
import { emit, useKey } from "./signals.js";

const HOLD_MS = 300;
const MAX_LINES = 200;

const state = {
  connection: "connecting", // connecting, open or lost
  refusal: "", // Why the server does not let this page in.
  version: "",
  role: "viewer",
  prefix: "",
  rows: new Map(), // By name: the rows of the table.
  values: new Map(), // By name: arguments.
  live: {},
  status: null,
  lines: [],
};
const holds = new Map(); // By name: what is shown instead of the value, and until when.

let connection = null;
const outbox = new Outbox((message) => connection.send(message));

export function connect(url) {
  connection = new Connection(url, { onMessage: receive, onState: setConnection });
}

function setConnection(next, refusal = "") {
  if (state.connection === next && state.refusal === refusal) return;
  // An answer that comes late says nothing about a connection that is open again.
  if (refusal && state.connection === "open") return;
  Object.assign(state, { connection: next, refusal });
  if (next === "lost") {
    // What was not sent in time shall not come as a surprise later.
    outbox.clear();
    for (const name of [...holds.keys()]) drop(name);
  }
  emit("connection");
}

const nameOf = (address) => address.slice(state.prefix.length + 1);

const RECEIVERS = {
  hello(message) {
    const { version, role, prefix, table, values } = message;
    Object.assign(state, { version, role, prefix, live: {}, lines: [], values: new Map() });
    state.rows = new Map(table.map((row) => [row.name, row]));
    for (const [address, args] of Object.entries(values)) state.values.set(nameOf(address), args);
    setConnection("open");
    emit("hello");
  },
  values(message) {
    for (const [address, args] of Object.entries(message.values)) {
      const name = nameOf(address);
      state.values.set(name, args);
      if (!holds.has(name)) emit(`value ${name}`);
    }
  },
  live(message) {
    Object.assign(state.live, message.values ?? message.live);
    for (const name of Object.keys(message.values ?? message.live)) emit(`live ${name}`);
  },
  status(message) {
    state.status = message.status;
    emit("status");
  },
  log(message) {
    state.lines = [...state.lines, ...message.lines].slice(-MAX_LINES);
    emit("log");
  },
  reply(message) {
    for (const [address] of [...message.refused, ...message.warnings]) drop(nameOf(address));
    for (const [address, args] of Object.entries(message.values ?? {})) {
      state.values.set(nameOf(address), args);
      drop(nameOf(address));
    }
    addNotices(noticesOf(message, nameOf));
  },
};

function receive(message) {
  RECEIVERS[message.type]?.(message);
}

export const canChange = () => state.connection === "open" && state.role === "operator";
export const shownValue = (name) => holds.get(name)?.args ?? state.values.get(name) ?? [];
export const rowOf = (name) => state.rows.get(name);

// Send a value; while it moves and shortly after, no other value takes its place on this page.
export function move(name, ...args) {
  if (!canChange()) return;
  outbox.put(`${state.prefix}/${name}`, args);
  hold(name, args);
}

// Send arguments as they are: the page shows what the server answers.
export function send(name, ...args) {
  if (canChange()) outbox.put(`${state.prefix}/${name}`, args);
}

export function press(name, ...args) {
  if (canChange()) outbox.put(`${state.prefix}/${name}`, args, { isButton: true });
}

function hold(name, args) {
  const held = holds.get(name) ?? { grabs: 0, timer: null };
  held.args = args;
  holds.set(name, held);
  wait(name, held);
  emit(`value ${name}`);
}

function wait(name, held) {
  clearTimeout(held.timer);
  if (!held.grabs) held.timer = setTimeout(() => drop(name), HOLD_MS);
}

// Keep what is shown as long as a finger is down, even while it rests.
export function grab(name) {
  const held = holds.get(name) ?? { grabs: 0, timer: null, args: shownValue(name) };
  held.grabs = 1;
  clearTimeout(held.timer);
  holds.set(name, held);
}

export function letGo(name) {
  const held = holds.get(name);
  if (!held) return;
  held.grabs = 0;
  wait(name, held);
}

function drop(name) {
  const held = holds.get(name);
  if (!held || held.grabs) return;
  clearTimeout(held.timer);
  holds.delete(name);
  emit(`value ${name}`);
}

export const useValue = (name) => useKey(`value ${name}`, () => shownValue(name));
export const useLive = (name) => useKey(`live ${name}`, () => state.live[name]);
export const useStatus = () => useKey("status", () => state.status);
export const useLines = () => useKey("log", () => state.lines);
export const useConnection = () => useKey("connection", () => state.connection);
export const useRefusal = () => useKey("connection", () => state.refusal);
export const useSession = () => useKey("hello", () => state);
