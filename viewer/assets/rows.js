// Rows to choose from. Items: {key, name, value, verdict, apart, note, colour, share, on, off}; says {pick} or {hide} with a row's key.
const EYE = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M2 12s3.6-6.5 10-6.5S22 12 22 12s-3.6 6.5-10 6.5S2 12 2 12z"/><circle cx="12" cy="12" r="2.6"/></svg>'
const SHUT = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 5l16 14M6 7.6C3.4 9.4 2 12 2 12s3.600 6.500 10 6.500c1.600 0 3-.4 4.300-1M10 5.700c.6-.1 1.300-.2 2-.2 6.400 0 10 6.500 10 6.500s-.9 1.600-2.600 3.200"/></svg>'

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children.filter(Boolean))
  return made
}

export function render({ model }) {
  const list = element("ul", {})
  const row = (item) => {
    const swatch = item.colour && element("span", { className: "swatch" })
    if (swatch) swatch.style.background = item.colour
    const bar = element("i", {})
    bar.style.width = `${Math.max(0, Math.min(1, item.share ?? 0)) * 100}%`
    if (item.colour) bar.style.background = item.colour
    const pick = element("button", {
      className: "pick", title: item.hint ?? "", onclick: () => model.send_msg({ pick: item.key }),
    },
    swatch, element("span", { className: "name", textContent: item.name, title: item.name }),
    element("span", { className: "value", textContent: item.value ?? "" }),
    item.verdict && element("span", { className: item.apart ? "verdict apart" : "verdict", textContent: item.verdict, title: item.verdict }),
    item.note && element("span", { className: "note", textContent: item.note, title: item.note }),
    item.share !== undefined && element("span", { className: "track" }, bar))
    pick.classList.toggle("plain", !swatch)
    pick.dataset.key = item.key
    pick.setAttribute("aria-pressed", Boolean(item.on))
    const eye = model.hides && element("button", {
      className: "eye", innerHTML: item.off ? SHUT : EYE, title: item.off ? "Show" : "Hide",
      onclick: () => model.send_msg({ hide: item.key }),
    })
    eye && eye.setAttribute("aria-label", `${item.off ? "Show" : "Hide"} ${item.name}`)
    return element("li", { className: `${item.on ? "on" : ""} ${item.off ? "off" : ""}` }, pick, eye)
  }
  let drawn = new Map()
  const fill = () => {
    const focused = list.getRootNode().activeElement
    const again = focused?.className === "eye" ? ".eye" : ".pick"
    const key = focused?.closest("li")?.firstChild.dataset.key
    // A row that says what it said stays where it is, so that a click that has begun on it ends on it.
    drawn = new Map(model.items.map((item) => {
      const said = JSON.stringify(item), held = drawn.get(item.key)
      return [item.key, held?.said === said ? held : { said, li: row(item) }]
    }))
    const wanted = [...drawn.values()].map(({ li }) => li)
    if (wanted.length !== list.children.length || wanted.some((li, k) => li !== list.children[k])) list.replaceChildren(...wanted)
    if (key !== undefined) drawn.get(key)?.li.querySelector(again)?.focus()
  }
  model.on("items", fill)
  fill()
  return list
}
