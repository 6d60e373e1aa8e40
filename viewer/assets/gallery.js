// Samples as columns of drawings. Items: {key, row, id, says, wrong, colour, title}. Says {want: rows} of those that come
// into view, and {open: key}, {near: key} or {close}. Drawings are kept by look and row, so that none is sent twice.
const MOST = 48e6 // letters of drawings that are kept

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children.filter(Boolean))
  return made
}

export function render({ model, el }) {
  const kept = new Map()
  const name = (row) => `${model.look} ${row}`
  const grid = element("div", {})
  const dialog = element("dialog", {})
  const near = new Set()
  let asked = 0

  const pixelate = (image) => {
    const small = Math.max(image.naturalWidth, image.naturalHeight) <= 128
    image.classList.toggle("pixelated", model.sampling === "pixelated" || (model.sampling === "auto" && small))
  }
  const picture = (kind, src, id) => element("img", {
    src, alt: `${kind} of ${id}`, title: kind, draggable: false, decoding: "async", onload: (event) => pixelate(event.target),
  })
  const hang = (button) => {
    const drawn = kept.get(name(button.dataset.row))
    if (!drawn || button.dataset.look === model.look) return Boolean(drawn)
    button.dataset.look = model.look
    button.querySelectorAll(":scope > img, :scope > .waiting").forEach((one) => one.remove())
    button.prepend(...drawn.map(([kind, src]) => picture(kind, src, button.dataset.id)))
    return true
  }
  const want = () => {
    const missing = [...near].filter((button) => button.isConnected && !hang(button)).map((button) => Number(button.dataset.row))
    if (missing.length) model.send_msg({ want: missing })
  }
  const soon = () => {
    cancelAnimationFrame(asked)
    asked = requestAnimationFrame(want)
  }
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      near[isIntersecting ? "add" : "delete"](target)
      target.classList.toggle("near", isIntersecting)
    }
    soon()
  }, { rootMargin: "160px", scrollMargin: "160px" })

  const sample = (item, place) => {
    const dot = item.colour && element("span", { className: "dot" })
    if (dot) dot.style.background = item.colour
    const button = element("button", {
      className: "sample", title: item.title, tabIndex: place ? -1 : 0, onclick: () => model.send_msg({ open: item.key }),
    },
    ...Array.from({ length: model.kinds }, () => element("div", { className: "waiting" })),
    element("span", { className: "row" }, dot, element("span", { className: "id", textContent: item.id })),
    element("span", { className: `says ${item.wrong ? "wrong" : ""}`, textContent: item.says }))
    Object.assign(button.dataset, { key: item.key, row: item.row, id: item.id })
    hang(button)
    watcher.observe(button)
    return button
  }
  const shape = () => { if (model.items.length) grid.className = `grid ${model.form}` }
  let listed = ""
  const fill = () => {
    if (model.items.length === 0) {
      const [title, text] = model.notice
      near.clear()
      listed = ""
      grid.className = "empty"
      grid.replaceChildren(element("b", { textContent: title }), element("span", { textContent: text }))
      return
    }
    shape()
    const now = model.items.map((item) => `${item.row} ${item.title}`).join()
    if (now === listed) return soon()
    near.clear()
    watcher.disconnect()
    listed = now
    grid.replaceChildren(...model.items.map(sample))
    grid.getRootNode().host?.scrollTo(0, 0)
  }
  const weight = (drawn) => drawn.reduce((sum, [, src]) => sum + src.length, 0)
  let weighs = 0
  const forget = (key) => {
    weighs -= weight(kept.get(key) ?? [])
    kept.delete(key)
  }
  const arrived = () => {
    for (const [row, drawn] of Object.entries(model.pictures.drawn ?? {})) {
      const key = `${model.pictures.look} ${row}`
      forget(key)
      kept.set(key, drawn)
      weighs += weight(drawn)
    }
    while (weighs > MOST) forget(kept.keys().next().value)
    grid.querySelectorAll(".sample").forEach(hang)
  }
  const step = { ArrowRight: 1, ArrowLeft: -1 }
  grid.addEventListener("keydown", (event) => {
    const all = [...grid.children], at = all.indexOf(event.target)
    if (at < 0) return
    const across = getComputedStyle(grid).gridTemplateColumns.split(" ").length
    const by = { ...step, ArrowDown: across, ArrowUp: -across, Home: -at, End: all.length - 1 - at }[event.key]
    if (by === undefined) return
    event.preventDefault()
    const to = all[Math.max(0, Math.min(all.length - 1, at + by))]
    event.target.tabIndex = -1
    to.tabIndex = 0
    to.focus()
  })

  dialog.addEventListener("close", () => model.opened.title && model.send_msg({ close: true }))
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close())
  // The sample that was asked for last, which two quick steps get to before the first has been answered.
  let at = ""
  const beside = (by) => model.items[model.items.findIndex((item) => item.key === at) + by]
  const go = (by) => {
    const to = beside(by)
    if (!to) return
    at = to.key
    model.send_msg({ open: at })
  }
  dialog.addEventListener("keydown", (event) => step[event.key] && go(step[event.key]))
  const act = (textContent, onclick, properties) => element("button", { className: "act", textContent, onclick, ...properties })
  const open = () => {
    const { title, pictures, facts, key } = model.opened
    if (!title) {
      dialog.close()
      return
    }
    if (!dialog.open) at = key
    const turn = (label, by) =>
      key && act(by < 0 ? "‹" : "›", () => go(by), { title: label, ariaLabel: label, disabled: !beside(by) })
    const focused = dialog.getRootNode().activeElement?.title
    dialog.replaceChildren(element("div", { className: "sheet" },
      element("header", {}, element("h2", { textContent: title }), element("div", { className: "acts" },
        turn("Earlier sample", -1), turn("Later sample", 1), act("Close", () => dialog.close()))),
      element("div", { className: `large ${model.form}` }, ...pictures.map(([kind, src]) => element("figure", {},
        picture(kind, src, title), element("figcaption", { textContent: kind })))),
      element("dl", {}, ...facts.flatMap(([label, value]) =>
        [element("dt", { textContent: label }), element("dd", { textContent: value })])),
      key && act("Show its nearest neighbours", () => model.send_msg({ near: key }))))
    dialog.setAttribute("aria-label", `Sample ${title}`)
    if (!dialog.open) dialog.showModal()
    const again = focused && dialog.querySelector(`[title="${focused}"]:not(:disabled)`)
    again?.focus()
  }
  model.on("items", fill)
  model.on("notice", fill)
  model.on("form", shape)
  model.on("look", () => soon())
  model.on("pictures", arrived)
  model.on("sampling", () => el.querySelectorAll("img").forEach(pixelate))
  model.on("opened", open)
  model.on("remove", () => watcher.disconnect())
  fill()
  return element("div", {}, grid, dialog)
}
