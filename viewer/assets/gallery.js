// Samples as columns of pictures. Items: {key, id, says, wrong, colour, title, pictures: [[kind, source], …]}.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children.filter(Boolean))
  return made
}

function sample(item, model) {
  const dot = item.colour && element("span", { className: "dot" })
  if (dot) dot.style.background = item.colour
  const button = element("button", {
    className: "sample", title: item.title, onclick: () => model.send_msg({ open: item.key }),
  },
  ...item.pictures.map(([kind, src]) => element("img", { src, alt: `${kind} of ${item.id}`, draggable: false })),
  element("span", { className: "row" }, dot, element("span", { className: "id", textContent: item.id })),
  element("span", { className: `says ${item.wrong ? "wrong" : ""}`, textContent: item.says }))
  button.dataset.key = item.key
  return button
}

export function render({ model, el }) {
  const fill = () => {
    if (model.items.length === 0) {
      const [title, text] = model.notice
      grid.className = "empty"
      grid.replaceChildren(element("b", { textContent: title }), element("span", { textContent: text }))
      return
    }
    grid.className = `grid ${model.pixelated ? "pixelated" : ""}`
    grid.replaceChildren(...model.items.map((item) => sample(item, model)))
    grid.getRootNode().host?.scrollTo(0, 0)
  }
  const grid = element("div", {})
  const dialog = element("dialog", {})
  dialog.addEventListener("close", () => model.opened.title && model.send_msg({ close: true }))
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close())
  const open = () => {
    const { title, pictures, facts, key } = model.opened
    if (!title) {
      dialog.close()
      return
    }
    const near = key && element("button", {
      className: "act", textContent: "Show its nearest neighbours", onclick: () => model.send_msg({ near: key }),
    })
    dialog.replaceChildren(element("div", { className: "sheet" },
      element("header", {}, element("h2", { textContent: title }),
        element("button", { className: "act", textContent: "Close", onclick: () => dialog.close() })),
      element("div", { className: "large" }, ...pictures.map(([kind, src]) => element("figure", {},
        element("img", { src, alt: `${kind} of ${title}`, className: model.pixelated ? "pixelated" : "" }),
        element("figcaption", { textContent: kind })))),
      element("dl", {}, ...facts.flatMap(([name, value]) =>
        [element("dt", { textContent: name }), element("dd", { textContent: value })])), near))
    if (!dialog.open) dialog.showModal()
  }
  model.on("items", fill)
  model.on("notice", fill)
  model.on("opened", open)
  fill()
  const all = element("div", {}, grid, dialog)
  return all
}
