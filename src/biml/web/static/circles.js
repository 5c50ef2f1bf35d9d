// Responses of circles: clicked or dragged from a pool into a row, moved, removed, cleared; by
// mouse, touch or keyboard. The markup is that of templates/circles.html. Every change writes the
// hidden field and sends the event "circles" with {symbols, action}.
"use strict";

class Circles {
  static #of = new WeakMap();

  // The response of an element with the attribute data-circles.
  static at(root) {
    if (!Circles.#of.has(root)) Circles.#of.set(root, new Circles(root));
    return Circles.#of.get(root);
  }

  static mountAll(within = document) {
    return [...within.querySelectorAll("[data-circles]")].map((root) => Circles.at(root));
  }

  #symbols = [];
  #drag = null;
  #dragged = false;

  constructor(root) {
    this.root = root;
    this.row = root.querySelector(".row");
    this.pool = root.querySelector(".pool");
    this.field = root.querySelector("input[type=hidden]");
    this.clearButton = root.querySelector("[data-clear]");
    this.max = Number(root.dataset.max);
    this.pool.addEventListener("click", (event) => {
      const circle = event.target.closest(".circle");
      if (circle && !this.#endsDrag(event)) this.insert(circle.dataset.symbol);
    });
    this.row.addEventListener("click", (event) => {
      const circle = event.target.closest(".circle");
      if (circle && !this.#endsDrag(event)) this.remove(this.#places().indexOf(circle));
    });
    this.clearButton?.addEventListener("click", () => {
      this.#change([], "cleared", "Cleared");
      this.#pools()[0].focus();
    });
    root.addEventListener("keydown", (event) => this.#keydown(event));
    root.addEventListener("pointerdown", (event) => this.#press(event));
    root.addEventListener("focusin", (event) => this.#rove(event.target));
    for (const [number, circle] of this.#pools().entries()) circle.tabIndex = number ? -1 : 0;
    this.#symbols = this.field.value.split(" ").filter(Boolean);
    this.#render();
  }

  get value() {
    return [...this.#symbols];
  }

  set value(symbols) {
    this.#symbols = [...symbols];
    this.#render();
  }

  insert(symbol, index = this.#symbols.length) {
    if (this.#symbols.length >= this.max) {
      this.#announce(`No more than ${this.max} circles`);
      return;
    }
    const symbols = this.value;
    symbols.splice(index, 0, symbol);
    this.#change(symbols, "added", `${this.#name(symbol)} added`);
  }

  remove(index) {
    if (!this.#symbols.length) return;
    const focused = this.#places().includes(document.activeElement);
    const symbols = this.value;
    const [symbol] = symbols.splice(index, 1);
    this.#change(symbols, "removed", `${this.#name(symbol)} removed`);
    if (focused) (this.#places()[Math.min(index, symbols.length - 1)] ?? this.#pools()[0]).focus();
  }

  move(from, to) {
    const symbols = this.value;
    const [symbol] = symbols.splice(from, 1);
    symbols.splice(to, 0, symbol);
    if (symbols.join() === this.#symbols.join()) return;
    this.#change(symbols, "moved", `${this.#name(symbol)} moved to place ${to + 1}`);
  }

  #change(symbols, action, message) {
    this.value = symbols;
    const row = symbols.map((symbol) => this.#name(symbol)).join(", ") || "empty";
    this.#announce(`${message}. ${this.row.getAttribute("aria-label")}: ${row}`);
    const detail = { symbols: this.value, action };
    this.root.dispatchEvent(new CustomEvent("circles", { bubbles: true, detail }));
  }

  #announce(text) {
    this.root.querySelector("[data-announce]").textContent = text;
  }

  #name(symbol) {
    return this.#poolCircle(symbol)?.getAttribute("aria-label") ?? symbol;
  }

  #poolCircle(symbol) {
    return this.#pools().find((circle) => circle.dataset.symbol === symbol);
  }

  #pools() {
    return [...this.pool.querySelectorAll(".circle")];
  }

  #places() {
    return [...this.row.querySelectorAll(".circle")];
  }

  #render() {
    const places = this.#symbols.map((symbol, index) => {
      const circle = (this.#poolCircle(symbol) ?? document.createElement("button")).cloneNode(true);
      circle.type = "button";
      circle.classList.add("circle");
      circle.removeAttribute("aria-keyshortcuts");
      circle.tabIndex = index ? -1 : 0;
      const place = `${index + 1} of ${this.#symbols.length}`;
      circle.setAttribute("aria-label", `${this.#name(symbol)}, ${place}, remove`);
      circle.dataset.letters ??= symbol;
      const item = document.createElement("li");
      item.append(circle);
      return item;
    });
    this.row.replaceChildren(...places);
    this.field.value = this.#symbols.join(" ");
    this.root.classList.toggle("empty", !this.#symbols.length);
    if (this.clearButton) this.clearButton.disabled = !this.#symbols.length;
  }

  // Whether a click is only the end of a drag; clicks by keyboard have no detail.
  #endsDrag(click) {
    return this.#dragged && click.detail > 0;
  }

  // One circle of a group is in the tab order; arrow keys go to the others.
  #rove(target) {
    for (const group of [this.#pools(), this.#places()]) {
      if (group.includes(target)) for (const one of group) one.tabIndex = one === target ? 0 : -1;
    }
  }

  #keydown(event) {
    if (event.key === "Escape" && this.#drag) return this.#drop(null);
    if (event.ctrlKey || event.metaKey) return undefined;
    const group = [this.#pools(), this.#places()].find((some) => some.includes(event.target));
    const index = group?.indexOf(event.target);
    const inRow = group && this.row.contains(event.target);
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (group && step !== undefined) {
      const to = Math.max(0, Math.min(group.length - 1, index + step));
      if (inRow && (event.altKey || event.shiftKey)) {
        this.move(index, to);
        this.#places()[to].focus();
      } else group[to].focus();
    } else if (group && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      const other = event.key === "ArrowUp" ? this.#places() : this.#pools();
      other.find((circle) => circle.tabIndex === 0)?.focus();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.remove(inRow ? index : this.#symbols.length - 1);
    } else if (/^[1-9]$/.test(event.key) && this.#pools()[event.key - 1]) {
      this.insert(this.#pools()[event.key - 1].dataset.symbol);
    } else return undefined;
    return event.preventDefault();
  }

  #press(event) {
    const circle = event.target.closest?.(".circle");
    this.#dragged = false;
    if (!circle || event.button !== 0) return;
    const from = this.#places().indexOf(circle);
    this.#drag = { circle, from, x: event.clientX, y: event.clientY, symbol: circle.dataset.symbol };
    const end = new AbortController();
    const listen = (type, listener) =>
      window.addEventListener(type, listener, { signal: end.signal });
    this.#drag.end = end;
    listen("pointermove", (moved) => this.#moved(moved));
    listen("pointerup", (up) => this.#drop(up));
    listen("pointercancel", () => this.#drop(null));
  }

  #moved(event) {
    const drag = this.#drag;
    if (!drag.ghost) {
      if (Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < 6) return;
      this.#dragged = true;
      drag.ghost = drag.circle.cloneNode(true);
      drag.ghost.classList.add("ghost");
      drag.ghost.setAttribute("aria-hidden", "true");
      document.body.append(drag.ghost);
      drag.gap = document.createElement("li");
      drag.gap.className = "gap";
      if (drag.from >= 0) drag.circle.parentElement.classList.add("lifted");
      this.root.classList.add("dragging");
    }
    drag.ghost.style.left = `${event.clientX}px`;
    drag.ghost.style.top = `${event.clientY}px`;
    const index = this.#placeAt(event.clientX, event.clientY);
    if (index === null) drag.gap.remove();
    else {
      const others = this.#unmoved();
      if (others[index] !== drag.gap.nextElementSibling || !drag.gap.isConnected)
        this.row.insertBefore(drag.gap, others[index] ?? null);
    }
  }

  // The items of the row without the one that is dragged and the gap for it.
  #unmoved() {
    return [...this.row.children].filter(
      (item) => item !== this.#drag.gap && !item.classList.contains("lifted"),
    );
  }

  // The place in the row that a point falls on; null outside of the row.
  #placeAt(x, y) {
    const box = this.row.parentElement.getBoundingClientRect();
    const margin = 16;
    if (x < box.left - margin || x > box.right + margin) return null;
    if (y < box.top - margin || y > box.bottom + margin) return null;
    const before = this.#unmoved().filter((item) => {
      const at = item.getBoundingClientRect();
      return at.bottom < y || (at.top <= y && at.left + at.width / 2 < x);
    });
    return before.length;
  }

  // The end of a press: a click, or a drag to a place in the row or out of it.
  #drop(event) {
    const drag = this.#drag;
    drag.end.abort();
    const index = drag.ghost && event && this.#placeAt(event.clientX, event.clientY);
    this.#drag = null;
    if (!drag.ghost) return;
    drag.ghost.remove();
    drag.gap.remove();
    drag.circle.parentElement.classList.remove("lifted");
    this.root.classList.remove("dragging");
    if (!event) return;
    if (drag.from < 0 && index !== null) this.insert(drag.symbol, index);
    else if (drag.from >= 0 && index === null) this.remove(drag.from);
    else if (drag.from >= 0) this.move(drag.from, index);
  }
}

document.addEventListener("DOMContentLoaded", () => {
  const all = Circles.mountAll();
  // Keys work before anything has the focus, where there is no doubt which response they mean.
  document.addEventListener("keydown", (event) => {
    if (document.activeElement !== document.body || all.length !== 1) return;
    if (!/^([1-9]|Backspace)$/.test(event.key)) return;
    all[0].pool.querySelector(".circle").focus();
    all[0].pool.querySelector(".circle").dispatchEvent(new KeyboardEvent("keydown", event));
  });
});
