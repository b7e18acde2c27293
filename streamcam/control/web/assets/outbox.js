// Messages to the server: those of one address are merged while a fader moves, 30 packets a second.

const INTERVAL_MS = 33;
const MAX_MESSAGES = 200; // The server takes 256 in a packet.

export class Outbox {
  constructor(send) {
    this.send = send;
    this.waiting = []; // [address, arguments], in the order that they were first sent.
    this.timer = null;
    this.id = 0;
  }

  // Send the newest arguments of an address; a button's presses are all kept.
  put(address, args, { isButton = false } = {}) {
    const earlier = isButton ? undefined : this.waiting.find(([other]) => other === address);
    if (earlier) earlier[1] = args;
    else this.waiting.push([address, args]);
    if (this.timer === null) this.flush();
  }

  flush() {
    this.timer = null;
    const messages = this.waiting.splice(0, MAX_MESSAGES);
    if (!messages.length) return;
    this.id += 1;
    this.send({ type: "send", id: this.id, messages: messages.map(([a, args]) => [a, ...args]) });
    this.timer = setTimeout(() => this.flush(), INTERVAL_MS);
  }

  clear() {
    this.waiting = [];
  }
}
