// A list of any length, of which only the visible rows are in the DOM. All rows have the same height, so that the place
// of each is known without a layout.

// Rows above and below the visible ones, so that a quick scroll shows no gap.
const SPARE = 8;

export class VirtualList {
  // `make()` makes a row, `fill(row, item, index)` shows an item in it. Rows are used again.
  constructor(scroller, make, fill) {
    this.scroller = scroller;
    this.make = make;
    this.fill = fill;
    this.items = [];
    this.height = 32;
    this.space = document.createElement("div");
    this.space.className = "space";
    this.space.setAttribute("role", "presentation");
    scroller.append(this.space);
    this.shown = new Map();
    this.free = [];
    scroller.addEventListener("scroll", () => this.draw(), { passive: true });
  }

  // `key(item)` tells which row showed the item before, so that the focus stays with it.
  set(items, height, key) {
    Object.assign(this, { items, height, key });
    const total = `${items.length * height}px`;
    if (this.space.style.height !== total) this.space.style.height = total;
    this.draw();
  }

  draw() {
    const { scroller, items, height, key } = this;
    const first = Math.max(0, Math.floor(scroller.scrollTop / height) - SPARE);
    const end = Math.min(items.length, Math.ceil((scroller.scrollTop + scroller.clientHeight) / height) + SPARE);
    const wanted = new Map();
    for (let at = first; at < end; at += 1) wanted.set(key(items[at]), at);
    for (const [name, row] of this.shown) {
      if (wanted.has(name)) continue;
      row.remove();
      this.shown.delete(name);
      this.free.push(row);
    }
    for (const [name, at] of wanted) {
      let row = this.shown.get(name);
      if (!row) {
        row = this.free.pop() ?? this.make();
        this.shown.set(name, row);
        this.space.append(row);
      }
      const place = `translateY(${at * height}px)`;
      if (row.style.transform !== place) row.style.transform = place;
      if (row.style.height !== `${height}px`) row.style.height = `${height}px`;
      this.fill(row, items[at], at);
    }
    this.sort([...wanted.keys()].map((name) => this.shown.get(name)));
  }

  // Brings the rows into the order in which they are seen, which is that of the tab key and of screen readers. The one
  // with the focus stays where it is in the DOM, because it would lose the focus, and the others move around it.
  sort(rows) {
    let next = null;
    for (const row of rows.reverse()) {
      if (row.nextSibling !== next && !row.contains(document.activeElement)) this.space.insertBefore(row, next);
      next = row;
    }
  }

  // Scrolls as little as is needed for the item to be visible, and returns its row.
  reveal(at) {
    const { scroller, height } = this;
    const top = at * height;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + height > scroller.scrollTop + scroller.clientHeight) {
      scroller.scrollTop = top + height - scroller.clientHeight;
    }
    this.draw();
    return this.shown.get(this.key(this.items[at]));
  }
}
